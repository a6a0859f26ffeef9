//! What `dlscope::interpose!` does before `main`, timed: a process pays it once, so it belongs to the first load.

use std::time::Instant;
use versus::{process, sample};

fn main() {
    process::confine();
    let start = Instant::now();
    dlscope::unwind::interposed();
    let time = start.elapsed();
    sample::answer([time.as_nanos()]);
    sample::finish(true);
}
