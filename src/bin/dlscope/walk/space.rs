//! The address space as it is at an event: neighbouring pages of one object, one part and equal rights together.

use dlscope::elf::addr::{Addr, PAGE, Vaddr};
use dlscope::elf::image::{Prot, Segment};

use super::Walk;
use crate::atlas::Place;

/// A run of pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// Its end.
    pub end: u64,
    /// Its rights.
    pub prot: Prot,
    /// The number of the object that it belongs to.
    pub object: Option<u32>,
    /// Which `PT_LOAD` it comes from, by index of its header; `None` between segments.
    pub segment: Option<usize>,
}

impl Walk {
    /// All mapped regions of objects, by address.
    pub fn regions(&self) -> Vec<Region> {
        let mut regions: Vec<Region> = Vec::new();
        let mut object = None;
        for (at, page) in self.memory().pages() {
            if regions.last().is_none_or(|last| last.end != at.0 || !self.same_object(object, at.0)) {
                object = self.atlas.at(at.0);
            }
            let segment = object.and_then(|(_, place)| segment_of(place, at)).map(|segment| segment.index);
            let region =
                Region { start: at.0, end: at.0 + PAGE, prot: page.prot, object: object.map(|(id, _)| id), segment };
            match regions.last_mut() {
                Some(last) if continues(last, &region) => last.end = region.end,
                _ => regions.push(region),
            }
        }
        regions
    }

    fn same_object(&self, object: Option<(u32, &Place)>, address: u64) -> bool {
        object.is_some_and(|(_, place)| place.holds(address))
    }

    /// What a region is for, in a few words.
    pub fn contents(&self, region: &Region) -> String {
        let Some(place) = region.object.and_then(|id| self.atlas.place(id)) else { return String::new() };
        if !region.prot.readable() && !region.prot.executable() {
            return "reserved".into();
        }
        let segment = region.segment.and_then(|index| place.segments.iter().find(|s| s.index == index));
        let (Some(segment), Some(bias)) = (segment, place.bias) else { return String::new() };
        let (start, end) = (bias.vaddr(Addr(region.start)), bias.vaddr(Addr(region.end)));
        let part = cut(segment, start, end);
        place.contents(&part).join(", ")
    }
}

fn continues(last: &Region, next: &Region) -> bool {
    (last.end, last.prot, last.object, last.segment) == (next.start, next.prot, next.object, next.segment)
}

/// The `PT_LOAD` that has a page.
fn segment_of(place: &Place, page: Addr) -> Option<&Segment> {
    let start = place.bias?.vaddr(page).0;
    let touches = |s: &&Segment| s.vaddr.0 < start + PAGE && start < s.vaddr.0 + s.memsz;
    place.segments.iter().filter(|s| s.type_name() == "PT_LOAD").find(touches)
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
