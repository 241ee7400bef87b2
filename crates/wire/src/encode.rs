//! What a sender needs: requests as bodies. Here for tests and tools; nothing in it is on a hot
//! path.

use std::collections::HashMap;

use prost::Message;

use crate::proto::{v1, v2};

/// A body of remote write 1.0, compressed.
pub fn request_v1(request: &v1::WriteRequest) -> Vec<u8> {
    compress(&request.encode_to_vec())
}

/// A body of remote write 2.0, compressed.
pub fn request_v2(request: &v2::Request) -> Vec<u8> {
    compress(&request.encode_to_vec())
}

/// A series of remote write 1.0, not compressed.
pub fn series_v1(series: &v1::TimeSeries) -> Vec<u8> {
    series.encode_to_vec()
}

/// What [`series_v1`] wrote.
pub fn read_series_v1(bytes: &[u8]) -> Result<v1::TimeSeries, prost::DecodeError> {
    v1::TimeSeries::decode(bytes)
}

/// Bytes as a Snappy block.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("a body is shorter than 4 GiB")
}

/// Labels as remote write 1.0 has them, in the order given.
pub fn labels_v1(pairs: &[(&str, &str)]) -> Vec<v1::Label> {
    pairs.iter().map(|(n, v)| v1::Label { name: (*n).into(), value: (*v).into() }).collect()
}

/// Collects the texts of a request of remote write 2.0.
#[derive(Clone, Debug)]
pub struct SymbolTable {
    symbols: Vec<String>,
    places: HashMap<String, u32>,
}

impl Default for SymbolTable {
    fn default() -> Self {
        let mut table = Self { symbols: Vec::new(), places: HashMap::new() };
        table.symbol("");
        table
    }
}

impl SymbolTable {
    /// A table of the empty text, which every table begins with.
    pub fn new() -> Self {
        Self::default()
    }

    /// The reference to `text`.
    pub fn symbol(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = u32::try_from(self.symbols.len()).expect("fewer than 4 billion symbols");
        self.symbols.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }

    /// References to labels, in the order given.
    pub fn labels(&mut self, pairs: &[(&str, &str)]) -> Vec<u32> {
        pairs.iter().flat_map(|(n, v)| [self.symbol(n), self.symbol(v)]).collect()
    }

    /// The texts, for the request.
    pub fn into_symbols(self) -> Vec<String> {
        self.symbols
    }
}

/// A request of remote write 2.0 in the making.
#[derive(Clone, Debug)]
pub struct RequestV2 {
    /// The texts that it refers to.
    pub symbols: SymbolTable,
    /// Its series.
    pub series: Vec<v2::TimeSeries>,
    timestamp_ms: i64,
}

impl RequestV2 {
    /// An empty one, whose [series](Self::series) have samples of this time.
    pub fn at(timestamp_ms: i64) -> Self {
        Self { symbols: SymbolTable::new(), series: Vec::new(), timestamp_ms }
    }

    /// With a series that has a sample of value 1.
    #[must_use]
    pub fn series(self, labels: &[(&str, &str)]) -> Self {
        let sample = v2::Sample { value: 1.0, timestamp: self.timestamp_ms, start_timestamp: 0 };
        self.with(labels, |_, series| series.samples.push(sample))
    }

    /// With a series that `fill` fills.
    #[must_use]
    pub fn with(
        mut self,
        labels: &[(&str, &str)],
        fill: impl FnOnce(&mut SymbolTable, &mut v2::TimeSeries),
    ) -> Self {
        let labels_refs = self.symbols.labels(labels);
        let mut series = v2::TimeSeries { labels_refs, ..Default::default() };
        fill(&mut self.symbols, &mut series);
        self.series.push(series);
        self
    }

    /// The body, compressed.
    pub fn body(self) -> Vec<u8> {
        let (timeseries, symbols) = (self.series, self.symbols.into_symbols());
        request_v2(&v2::Request { timeseries, symbols })
    }
}
