//! Aggregations that nodes fold for each other: as messages say them, and for whom this node folds.

use std::time::Instant;

use rangekeeper_cluster::{FoldAnswer, Folder, Refusal, proto};
use rangekeeper_model::{Labels, TenantId};
use rangekeeper_promql::ast::Span;
use rangekeeper_promql::eval::Interrupt;
use rangekeeper_promql::parse;
use rangekeeper_promql::source::{Folded, FoldedRow, Folding};
use rangekeeper_storage::ShardSet;

use crate::api::Shared;
use crate::data::{Look, Told};

/// The question to others; they are told by the router which shards are theirs.
pub(crate) fn request(tenant: &TenantId, told: Told<'_>, folding: &Folding) -> proto::FoldRequest {
    let Folding { span, start_ms, end_ms, step_ms, lookback_ms, max_series } = *folding;
    proto::FoldRequest {
        header: None,
        tenant: tenant.as_str().to_owned(),
        query: told.text.to_owned(),
        span_start: span.start,
        span_end: span.end,
        start_ms,
        end_ms,
        step_ms,
        lookback_ms,
        shards: Vec::new(),
        max_series,
        features: told.features.to_owned(),
    }
}

/// What another node folded, if it can be read.
pub(crate) fn folded(answer: FoldAnswer) -> Option<Folded> {
    let FoldAnswer { rows, series, samples_read } = answer;
    let row = |row: proto::FoldedRow| {
        let labels = |bytes: &[u8]| Labels::from_canonical(bytes).ok();
        let (first, labels) = (labels(&row.first)?, labels(&row.labels)?);
        Some(FoldedRow { first, at: row.at, labels, values: row.values })
    };
    let rows = rows.into_iter().map(row).collect::<Option<_>>()?;
    Some(Folded { rows, series, samples_read })
}

impl Folder for Shared {
    fn fold(
        &self,
        request: &proto::FoldRequest,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<FoldAnswer, Refusal> {
        let malformed = |text: String| Refusal::new(proto::Reason::Malformed, text);
        if request.features != self.features {
            let text = format!("the node has the features {:?} on, not these", self.features);
            return Err(malformed(text));
        }
        let tenant =
            TenantId::new(&request.tenant).map_err(|error| malformed(error.to_string()))?;
        let expr =
            parse(&request.query, &self.parser).map_err(|error| malformed(error.to_string()))?;
        let shards: ShardSet = request.shards.iter().copied().collect();
        let folding = Folding {
            span: Span { start: request.span_start, end: request.span_end },
            start_ms: request.start_ms,
            end_ms: request.end_ms,
            step_ms: request.step_ms,
            lookback_ms: request.lookback_ms,
            max_series: request.max_series,
        };
        let look = Look {
            data: &self.data,
            tenant: &tenant,
            stop,
            // The asker's deadline comes as `stop`.
            deadline: Instant::now() + self.limits.timeout,
            within: Some(&shards),
            told: None,
        };
        let interrupt = || stop().then_some(Interrupt::Canceled);
        let folded = self.engine.fold(&look, &expr, &folding, &interrupt);
        let Folded { rows, series, samples_read } =
            folded.map_err(|error| Refusal::new(proto::Reason::Failed, error.to_string()))?;
        self.metrics.samples.inc_by(samples_read);
        self.metrics.series.inc_by(series);
        let row = |row: FoldedRow| proto::FoldedRow {
            first: row.first.as_bytes().to_vec().into(),
            at: row.at,
            labels: row.labels.as_bytes().to_vec().into(),
            values: row.values,
        };
        Ok(FoldAnswer { rows: rows.into_iter().map(row).collect(), series, samples_read })
    }
}
