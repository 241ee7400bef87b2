//! The ring of shards: one band a place, each shard an arc in the colour of its node, and a thin
//! band outside for whether every copy can be had.
//!
//! Arcs that look alike are one path, so that a ring of a hundred nodes and a thousand shards is a
//! few hundred elements.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;

use crate::overview::{Health, Overview, Slot};

/// Width and height of the picture.
const SIZE: f64 = 560.0;

/// Where the places' bands begin and end.
const INNER: f64 = 110.0;
const OUTER: f64 = 258.0;

/// The band of health.
const HEALTH_RADIUS: f64 = 270.0;
const HEALTH_WIDTH: f64 = 6.0;

/// Between two bands.
const BAND_GAP: f64 = 5.0;

/// Between two arcs, where they are long enough for it.
const ARC_GAP: f64 = 1.0;

/// One arc of SVG is less than half of a circle.
const LONGEST_ARC: f64 = TAU / 3.0;

/// A ring that is ready to be drawn.
pub(super) struct Ring {
    pub(super) size: f64,
    pub(super) middle: f64,
    pub(super) bands: Vec<Band>,
}

/// Strokes of one width.
pub(super) struct Band {
    pub(super) width: f64,
    pub(super) strokes: Vec<Stroke>,
}

/// Arcs that look alike.
pub(super) struct Stroke {
    /// None: the class has one.
    pub(super) color: Option<String>,
    pub(super) class: &'static str,
    pub(super) path: String,
}

/// The paths of a band so far, by colour and class.
type Paths<'a> = BTreeMap<(Option<&'a str>, &'static str), String>;

impl Ring {
    pub(super) fn new(overview: &Overview) -> Self {
        let places = overview.shards.iter().map(|shard| shard.slots.len()).max().unwrap_or(0);
        let names = overview.names();
        let mut bands = Vec::new();
        let room = (OUTER - INNER) / f64::from(u32::try_from(places).unwrap_or(1).max(1));
        let width = room - BAND_GAP;
        for (place, number) in (0..places).zip(0u32..) {
            let radius = INNER + room * (f64::from(number) + 0.5);
            bands.extend(place_bands(overview, &names, place, radius, width));
        }
        bands.push(health_band(overview));
        Self { size: SIZE, middle: SIZE / 2.0, bands }
    }
}

/// The bands of a place: of slots that one node has, over the whole width; of slots on their way,
/// half for who gives and half for who gets.
fn place_bands(
    overview: &Overview,
    names: &[&str],
    place: usize,
    radius: f64,
    width: f64,
) -> impl Iterator<Item = Band> {
    let (mut whole, mut half) = (Paths::new(), Paths::new());
    let count = overview.shards.len();
    for (at, shard) in overview.shards.iter().enumerate() {
        let Some(slot) = shard.slots.get(place) else { continue };
        let ends = Ends::of(at, count);
        let Slot { node, from, to, .. } = slot;
        match (node, from, to) {
            (Some(node), _, _) => arc(path(&mut whole, overview, node), radius, ends),
            (None, Some(from), Some(to)) => {
                arc(path(&mut half, overview, from), radius - width / 4.0, ends);
                arc(path(&mut half, overview, to), radius + width / 4.0, ends);
            }
            _ => {}
        }
    }
    let band = |paths: Paths, width| {
        let strokes = paths.into_iter().map(|((node, class), path)| Stroke {
            color: node.map(|node| color(names, node)),
            class,
            path,
        });
        Band { width, strokes: strokes.collect() }
    };
    let bands = [band(whole, width), band(half, width / 2.0)];
    bands.into_iter().filter(|band| !band.strokes.is_empty())
}

fn path<'a, 'b>(
    paths: &'b mut Paths<'a>,
    overview: &Overview,
    node: &'a str,
) -> &'b mut String {
    let class = if overview.serves(node) { "" } else { "silent" };
    paths.entry((Some(node), class)).or_default()
}

fn health_band(overview: &Overview) -> Band {
    let mut paths = Paths::new();
    let count = overview.shards.len();
    for (at, shard) in overview.shards.iter().enumerate() {
        let class = match overview.health(shard) {
            Health::Whole => "whole",
            Health::Changing => "changing",
            Health::Short => "short",
            Health::Unplaced => "unplaced",
        };
        arc(paths.entry((None, class)).or_default(), HEALTH_RADIUS, Ends::of(at, count));
    }
    let strokes =
        paths.into_iter().map(|((_, class), path)| Stroke { color: None, class, path });
    Band { width: HEALTH_WIDTH, strokes: strokes.collect() }
}

/// The angles between which a shard lies, clockwise from the top.
#[derive(Clone, Copy)]
struct Ends {
    start: f64,
    end: f64,
}

impl Ends {
    fn of(at: usize, count: usize) -> Self {
        let turn = |at: usize| {
            let part = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
            TAU * part(at) / part(count)
        };
        Self { start: turn(at), end: turn(at + 1) }
    }
}

/// Adds an arc to a path, in pieces if it is a long one.
fn arc(path: &mut String, radius: f64, Ends { start, end }: Ends) {
    let gap = ARC_GAP / radius;
    let end = if end - start > 4.0 * gap { end - gap } else { end };
    let point = |angle: f64| {
        (SIZE / 2.0 + radius * angle.sin(), SIZE / 2.0 - radius * angle.cos())
    };
    let (x, y) = point(start);
    write!(path, "M{x:.1} {y:.1}").expect("a string takes all");
    let mut at = start;
    while at < end {
        at = (at + LONGEST_ARC).min(end);
        let (x, y) = point(at);
        write!(path, "A{radius:.1} {radius:.1} 0 0 1 {x:.1} {y:.1}").expect("a string takes all");
    }
}

/// The colour of a node, by its place among all names: those next to each other differ the most.
pub(super) fn color(names: &[&str], node: &str) -> String {
    /// A part of the circle of hues that no small multiple brings back.
    const GOLDEN: f64 = 137.508;
    let at = names.iter().position(|name| *name == node).unwrap_or(0);
    let at = u32::try_from(at).unwrap_or(0);
    let hue = (210.0 + f64::from(at) * GOLDEN) % 360.0;
    // Hues alone do not tell a hundred nodes apart.
    let lightness = [52, 64, 42][(at / 12 % 3) as usize];
    format!("hsl({hue:.0} 58% {lightness}%)")
}
