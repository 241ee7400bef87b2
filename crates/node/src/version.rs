//! What this build is.

use std::sync::LazyLock;

use rangekeeper_telemetry::Registry;

/// The version of the product.
pub const OURS: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, where whoever builds says it, as the Makefile does.
pub const REVISION: &str = match option_env!("RANGEKEEPER_REVISION") {
    Some(revision) if !revision.is_empty() => revision,
    _ => "unknown",
};

/// The Prometheus whose PromQL is spoken: Grafana chooses its requests by this.
pub const PROMETHEUS: &str = "3.14.0";

/// All of it in a line, for people.
pub fn line() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| {
        format!("{OURS} (revision {REVISION}, PromQL of Prometheus {PROMETHEUS})")
    });
    &LINE
}

/// Exports what this build is, as every exporter does: a gauge that is always one.
pub(crate) fn register(registry: &Registry) {
    let labels = ["version", "revision", "promql"];
    let help = "What is running: always 1, the rest is in the labels.";
    let info = registry.gauges("rangekeeper_build_info", &labels, help);
    info.with_label_values(&[OURS, REVISION, PROMETHEUS]).set(1);
}
