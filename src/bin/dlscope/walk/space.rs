//! The address space at the current event, in regions.

use dlscope::elf::addr::{Addr, PAGE, Vaddr};
use dlscope::elf::image::{Prot, Segment};

use super::Walk;
use crate::atlas::KnownObject;

/// Neighbouring pages of one segment of one object, with equal rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first address.
    pub start: u64,
    /// The address behind the last byte.
    pub end: u64,
    /// The rights of the pages.
    pub prot: Prot,
    /// The number of the object.
    pub object: Option<u32>,
    /// The `PT_LOAD`, by the index of its program header; `None` between segments.
    pub segment: Option<usize>,
}

impl Walk {
    /// All regions of objects, by address.
    pub fn regions(&self) -> Vec<Region> {
        let mut regions: Vec<Region> = Vec::new();
        let mut object = None;
        for (at, page) in self.memory().pages() {
            if regions.last().is_none_or(|last| last.end != at.0 || !self.same_object(object, at.0)) {
                object = self.atlas.at(at.0);
            }
            let segment = object.and_then(|(_, object)| segment_of(object, at)).map(|segment| segment.index);
            let region =
                Region { start: at.0, end: at.0 + PAGE, prot: page.prot, object: object.map(|(id, _)| id), segment };
            match regions.last_mut() {
                Some(last) if continues(last, &region) => last.end = region.end,
                _ => regions.push(region),
            }
        }
        regions
    }

    fn same_object(&self, object: Option<(u32, &KnownObject)>, address: u64) -> bool {
        object.is_some_and(|(_, object)| object.holds(address))
    }

    /// The contents of a region, in a few words.
    pub fn contents(&self, region: &Region) -> String {
        let Some(object) = region.object.and_then(|id| self.atlas.object(id)) else { return String::new() };
        if !region.prot.readable() && !region.prot.executable() {
            return "reserved".into();
        }
        let segment = region.segment.and_then(|index| object.segments.iter().find(|s| s.index == index));
        let (Some(segment), Some(bias)) = (segment, object.bias) else { return String::new() };
        let (start, end) = (bias.vaddr(Addr(region.start)), bias.vaddr(Addr(region.end)));
        let part = cut(segment, start, end);
        object.contents(&part).join(", ")
    }
}

fn continues(last: &Region, next: &Region) -> bool {
    (last.end, last.prot, last.object, last.segment) == (next.start, next.prot, next.object, next.segment)
}

/// The `PT_LOAD` to which a page belongs.
fn segment_of(object: &KnownObject, page: Addr) -> Option<&Segment> {
    let start = object.bias?.vaddr(page).0;
    let touches = |s: &&Segment| s.vaddr.0 < start + PAGE && start < s.vaddr.0 + s.memsz;
    object.loads().find(touches)
}

/// The part of a segment between two addresses.
fn cut(segment: &Segment, start: Vaddr, end: Vaddr) -> Segment {
    let from = start.max(segment.vaddr);
    let to = end.0.min(segment.vaddr.0 + segment.memsz);
    let mut part = segment.clone();
    part.offset.0 += from.0 - segment.vaddr.0;
    part.vaddr = from;
    part.memsz = to.saturating_sub(from.0);
    part
}
