//! Every bound of the transport, with its reason. Those that an operator may want to change are
//! fields of [`crate::PeersOptions`] and [`crate::ServerOptions`]; these are their defaults.

use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Bytes of rows at which a frame is sent without waiting for more: about ten requests of 2,000
/// rows, so that what a frame costs in itself (two wake-ups, a sync) is shared.
pub const FRAME_BYTES: usize = 256 * KIB;

/// How long the first rows of a frame wait for others. A sync takes as long, so it is lost in the
/// answer's time, and below a hundred requests a second nothing would be gathered anyway.
pub const FRAME_WAIT: Duration = Duration::from_millis(2);

/// Frames that may be unanswered on a stream: 4 MiB, which at 10 ms an answer are 400 MiB/s. More
/// would only move the queue to the peer, where it cannot be told from work.
pub const FRAMES_IN_FLIGHT: usize = 16;

/// After this long without its answer a frame is given up, and its stream with it. No caller waits
/// so long; without it a peer that loses answers would hold its sender's places for ever.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that calls to one peer hold until they are answered: some seconds of one node's share,
/// enough for a peer's pause; three peers' queues fit into a small node's memory.
pub const QUEUE_BYTES: usize = 64 * MIB;

/// What a write holds beside its rows: so many empty ones must not be free.
pub const CALL_BYTES: usize = 512;

/// Rows of one call. A request is at most as large as a node takes, and its rows, hashes in place
/// of labels, are smaller.
pub const PART_BYTES: usize = 32 * MIB;

/// A message on the write connection: a frame that was nearly full and then got the largest part,
/// and what stands around them.
pub const WRITE_MESSAGE_BYTES: usize = PART_BYTES + MIB;

/// A message on the query connection. Handlers aim at [`PART_TARGET_BYTES`]; a single chunk is far
/// smaller than this, so that a series that is larger goes in several parts.
pub const QUERY_MESSAGE_BYTES: usize = 8 * MIB;

/// A message on the bulk connection: some thousands of chunks.
pub const BULK_MESSAGE_BYTES: usize = 8 * MIB;

/// Bytes of series that a part of an answer should have: large enough that its head is nothing,
/// small enough that the asker can begin with the first while the second is read.
pub const PART_TARGET_BYTES: usize = 256 * KIB;

/// Parts of one answer that wait for the connection: the handler reads one ahead.
pub const PARTS_AHEAD: usize = 2;

/// A message on the control connection. An assignment is at most a znode, 1 MiB.
pub const CONTROL_MESSAGE_BYTES: usize = 4 * MIB;

/// An assignment up to this size comes with a probe's answer; a larger one is fetched.
pub const PROBE_ASSIGNMENT_BYTES: usize = 64 * KIB;

/// Bytes that may be on their way on one stream before its reader took them: a part or a frame
/// and the next. This is what stops a handler whose asker does not read.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// The same of a connection: several streams that do not read leave room for one that does.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes of an HTTP/2 frame: the default of 16 KiB would cut a frame of ours into sixteen.
pub const HTTP2_FRAME_BYTES: u32 = 256 << 10;

/// Control calls to one peer at a time. They are small; more is a loop gone wrong.
pub const CONTROL_CALLS: usize = 16;

/// Deliveries to one peer at a time: catching up must not crowd out what comes in now.
pub const BULK_CALLS: usize = 2;

/// Queries to one peer at a time: more than a node evaluates at once.
pub const QUERY_CALLS: usize = 64;

/// How long a question that is expected to find nothing is worked on before its asker is told to
/// ask for an answer in parts: well below [`BEGIN_WITHIN`], after which a peer is silent.
pub const GLANCE_WITHIN: Duration = Duration::from_millis(500);

/// Such questions of one stream that are in hand at once; what is beyond waits with the asker.
pub const SERVED_GLANCES: usize = QUERY_CALLS;

/// Streams of such questions that a node serves at a time, as [`SERVED_WRITE_STREAMS`].
pub const SERVED_GLANCE_STREAMS: usize = 256;

/// Control calls that a node serves at a time: of a hundred peers, one each.
pub const SERVED_CONTROL_CALLS: usize = 128;

/// Write streams that a node serves at a time: of a hundred peers, and as many that are about to
/// notice that they were replaced.
pub const SERVED_WRITE_STREAMS: usize = 256;

/// Frames of one stream that are handled at once; what is beyond waits with the sender.
pub const SERVED_FRAMES: usize = FRAMES_IN_FLIGHT;

/// Deliveries of peers that a node takes at a time; each waits for a sync.
pub const SERVED_DELIVERIES: usize = 8;

/// Queries of peers that a node serves at a time; each holds a few parts.
pub const SERVED_QUERIES: usize = 256;

/// Connections that a node takes: four of a hundred peers, twice.
pub const CONNECTIONS: usize = 1024;

/// How long a connection may take to be made. Within a data centre it takes a millisecond; a
/// second is one lost packet.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long the first attempt after a failed one is put off, and how long any at most.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// See [`BACKOFF_FIRST`].
pub const BACKOFF_MOST: Duration = Duration::from_secs(2);

/// A connection is asked for a sign of life after so long without one, and given up after
/// [`KEEP_ALIVE_TIMEOUT`] more: a cut link tells nobody that it was cut, and the sum stays below
/// the five seconds within which a request has to be decided.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// See [`KEEP_ALIVE_INTERVAL`].
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A peer says at once that it begins to answer a query; one that does not within this time is
/// done without, where others can answer. Two of these stay below the five seconds within which a
/// request has to be decided.
pub const BEGIN_WITHIN: Duration = Duration::from_millis(1500);

/// The same where nobody else can answer, and the place is asked once more: with
/// [`BEGIN_WITHIN`], below five seconds.
pub const BEGIN_AT_LAST_WITHIN: Duration = Duration::from_secs(3);

/// How often each peer is probed.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a probe waits for its answer; its handler touches no disk.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Failures in a row that open the breaker: one or two are a restart.
pub const BREAKER_FAILURES: u32 = 5;

/// Assignments that peers offered and nobody took yet. They are offered again with each probe.
pub const OFFERED_ASSIGNMENTS: usize = 8;

/// What has begun when the node stops gets so long.
pub const DRAIN: Duration = Duration::from_secs(10);
