//! Beginnings that chance would seldom find.

use rangekeeper_model::ShardId;
use rangekeeper_placement::{Place, SlotState, Transition};

use crate::messages::{Body, Message, Target};
use crate::world::World;

impl World {
    /// Delivers what is wanted, and what follows from that, until there is no more.
    fn deliver_all(&mut self, wanted: impl Fn(&Message) -> bool) {
        while let Some(at) = self.messages.iter().position(&wanted) {
            let message = self.messages.remove(at);
            self.handle(message);
        }
    }

    /// A write is on its way to three places. The last has taken and acknowledged it when its copy
    /// is found damaged; it is repaired from the others, which the write has not reached. Chance goes
    /// on from there, with the write and the acknowledgement still counting for their router.
    pub fn repair_under_a_write(&mut self) {
        let (shard, place) = (ShardId(0), Place(2));
        self.begin_write_of(0, shard);
        let is_to_last = |message: &Message| matches!(message.body, Body::Write { place: asked, .. } if asked == place);
        self.deliver_all(is_to_last);
        let SlotState::Steady { node: row } = self.latest().shard(shard).slot(place).state else {
            panic!("all slots begin steady");
        };
        let node = self.rows[row.index()];
        self.sync_of(node, shard);
        self.deliver_all(|message| matches!(message.target, Target::Router(_)));
        self.damage_to(node, shard, 0);
        self.change(0, shard, place, Transition::Repair(row));
        let everybody = 0..self.nodes.len();
        for node in everybody {
            self.apply(node, &self.latest());
        }
        let is_pull = |message: &Message| {
            matches!(message.body, Body::Pull(_) | Body::Pulled(_) | Body::Report(_))
        };
        for _ in 0..64 {
            self.pull(node, shard);
            self.deliver_all(is_pull);
        }
        let mut reports = self.leaders.iter().flat_map(|leader| &leader.reports);
        assert!(reports.any(|(of, report)| *of == shard && report.place == place));
        self.change(0, shard, place, Transition::Finish);
        assert_eq!(self.latest().shard(shard).slot(place).state, SlotState::Steady { node: row });
    }
}
