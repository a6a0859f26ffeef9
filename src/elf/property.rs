//! Program properties: what a file says about the processor that it needs.
//!
//! psABI "Program Property"; glibc `_dl_process_property_note`. They stand in a note of the type
//! `NT_GNU_PROPERTY_TYPE_0`, in a `PT_GNU_PROPERTY` or `PT_NOTE` segment that is aligned to 8.

use super::addr::u32_at;

/// `p_type` of the segment that holds the properties; goblin does not have it.
pub const PT_GNU_PROPERTY: u32 = 0x6474_e553;

const NT_GNU_PROPERTY_TYPE_0: u32 = 5;
const GNU_PROPERTY_X86_ISA_1_NEEDED: u32 = 0xc000_8002;

/// `GNU_PROPERTY_X86_ISA_1_NEEDED` in the notes of one segment: a bit for each level of x86_64 processors, the lowest for
/// the baseline. `None` where nothing is said, and where a note is damaged: glibc skips it then.
pub fn isa_needed(notes: &[u8]) -> Option<u32> {
    let mut at = 0_usize;
    loop {
        let (name, length) = (u32_at(notes, at)? as usize, u32_at(notes, at + 4)? as usize);
        let kind = u32_at(notes, at + 8)?;
        let content = at.checked_add(12)?.checked_add(name)?.checked_next_multiple_of(8)?;
        let end = content.checked_add(length)?;
        if kind == NT_GNU_PROPERTY_TYPE_0 && name == 4 && notes.get(at + 12..at + 16)? == b"GNU\0" {
            // Only the first such note counts.
            return needed(notes.get(content..end)?);
        }
        at = end.checked_next_multiple_of(8)?;
    }
}

/// The same in one note's list of properties, which ascend by type.
fn needed(properties: &[u8]) -> Option<u32> {
    if !properties.len().is_multiple_of(8) {
        return None;
    }
    let (mut at, mut last) = (0_usize, 0);
    loop {
        let (kind, length) = (u32_at(properties, at)?, u32_at(properties, at + 4)? as usize);
        if kind < last || kind > GNU_PROPERTY_X86_ISA_1_NEEDED {
            return None;
        }
        if kind == GNU_PROPERTY_X86_ISA_1_NEEDED {
            return if length == 4 { u32_at(properties, at + 8) } else { None };
        }
        last = kind;
        at = at.checked_add(8)?.checked_add(length)?.checked_next_multiple_of(8)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8; 4], kind: u32, properties: &[(u32, &[u8])]) -> Vec<u8> {
        let mut content = Vec::new();
        for (kind, value) in properties {
            content.extend(kind.to_le_bytes());
            content.extend((value.len() as u32).to_le_bytes());
            content.extend(*value);
            content.resize(content.len().next_multiple_of(8), 0);
        }
        let header = [4, content.len() as u32, kind].map(u32::to_le_bytes);
        [&header.concat()[..], name, &content].concat()
    }

    #[test]
    fn the_needed_levels_stand_behind_other_properties_and_other_notes() {
        let cet = (0xc000_0002, &[3, 0, 0, 0][..]);
        let properties = note(b"GNU\0", 5, &[cet, (GNU_PROPERTY_X86_ISA_1_NEEDED, &[0xf, 0, 0, 0])]);
        assert_eq!(isa_needed(&properties), Some(0xf));
        let stranger = note(b"Abc\0", 5, &[(GNU_PROPERTY_X86_ISA_1_NEEDED, &[1, 0, 0, 0])]);
        assert_eq!(isa_needed(&[stranger, properties].concat()), Some(0xf));
        assert_eq!(isa_needed(&note(b"GNU\0", 5, &[cet])), None);
        assert_eq!(isa_needed(&[]), None);
    }

    #[test]
    fn a_damaged_note_says_nothing() {
        let good = note(b"GNU\0", 5, &[(GNU_PROPERTY_X86_ISA_1_NEEDED, &[8, 0, 0, 0])]);
        assert_eq!(isa_needed(&good), Some(8));
        for length in 0..good.len() {
            assert_eq!(isa_needed(&good[..length]), None, "{length} bytes");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = 0xff;
            let _ = isa_needed(&bad);
        }
        let descending = note(b"GNU\0", 5, &[(0xc001_0002, &[0; 4]), (GNU_PROPERTY_X86_ISA_1_NEEDED, &[8, 0, 0, 0])]);
        assert_eq!(isa_needed(&descending), None, "glibc stops at a later type");
    }
}
