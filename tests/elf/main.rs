//! What only the specification says, `dlscope::elf`: on values and on bytes, without a process.

mod addr;
mod dynamic;
mod image;
mod plan;
mod reloc;
mod version;
