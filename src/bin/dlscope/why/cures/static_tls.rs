//! Thread-local variables that need room in every thread from its start.

use super::Maker;

impl Maker<'_> {
    /// What gives the static TLS room for `bytes` more.
    pub(super) fn tunable(&mut self, bytes: u64) -> String {
        // glibc's own default is 512; its manual, "Dynamic Linking Tunables".
        let size = (bytes + 512).next_multiple_of(512) + 512;
        let setting = self.setting(format!("GLIBC_TUNABLES=glibc.rtld.optional_static_tls={size}"));
        format!("For the system's loader: {setting}, in the environment of the program when it starts.")
    }
}

pub(super) fn late_runtime(option: &str, runtime: &str, library: &str) -> String {
    format!(
        "Compile the program with -fsanitize={option}, too, or start it with LD_PRELOAD=$(gcc -print-file-name={runtime}), so \
         that {library} is in it from its start; or compile without that option."
    )
}
