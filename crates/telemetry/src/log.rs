//! Logs: one line an event, as text for people or as JSON for machines.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object a line, the fields of the event beside `timestamp`, `level` and `message`.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The levels cannot be read.
    #[error("parse log levels {levels:?}: {source}")]
    Levels {
        /// What was given.
        levels: String,
        /// Why it is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A part of them is neither a level nor a level of a target.
    #[error(
        "parse log levels {levels:?}: {part:?} is neither a level (off, error, warn, info, debug, \
         trace) nor target=level"
    )]
    Part {
        /// What was given.
        levels: String,
        /// The part.
        part: String,
    },
    /// Another subscriber got there first.
    #[error("install the log: one is installed already")]
    Installed,
}

/// Sends this process's log to the standard error stream, from now on.
///
/// `levels` is a level (`info`) or a list of them by target (`info,rangekeeper_storage=debug`). The
/// log is the one thing that a process has only once, so only a `main` calls this.
pub fn install(format: LogFormat, levels: &str) -> Result<(), LogError> {
    let subscriber = subscriber(format, levels, io::stderr().is_terminal(), io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)
}

/// The subscriber that [`install`] installs, writing to `writer`; with escape sequences for colour
/// if `colour`.
pub fn subscriber<W>(
    format: LogFormat,
    levels: &str,
    colour: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(levels)?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => fmt::layer().with_ansi(colour).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(filter)))
}

/// The filter that `levels` means. By itself the parser takes a mistyped level for the name of a
/// target, and then nothing is logged.
fn filter(levels: &str) -> Result<EnvFilter, LogError> {
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    for part in levels.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !is_level(level.trim()) {
            let (levels, part) = (levels.to_owned(), part.to_owned());
            return Err(LogError::Part { levels, part });
        }
    }
    EnvFilter::try_new(levels)
        .map_err(|source| LogError::Levels { levels: levels.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, levels: &str) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = subscriber(format, levels, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", request_id = "00c0ffee");
            let _entered = span.enter();
            tracing::info!(series = 3, "stored");
            tracing::debug!("not asked for");
        });
        let bytes = memory.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines_carry_message_fields_and_request() {
        let text = logged(LogFormat::Text, "info");
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["INFO", "stored", "series=3", "request_id=\"00c0ffee\""] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }

    #[test]
    fn json_lines_carry_message_fields_and_request() {
        let text = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "stored");
        assert_eq!(line["series"], 3);
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["request_id"], "00c0ffee");
    }

    #[test]
    fn levels_can_be_set_by_target_and_are_checked() {
        assert_eq!(logged(LogFormat::Text, "error"), "");
        let own = format!("error,{}=debug", module_path!());
        assert_eq!(logged(LogFormat::Text, &own).lines().count(), 2);
        let refused = subscriber(LogFormat::Text, "loud,=", false, io::sink).err().unwrap();
        assert!(refused.to_string().contains("loud"), "{refused}");
    }

    #[test]
    fn a_mistyped_level_is_refused_by_name() {
        for levels in ["info", "INFO,rangekeeper_storage=debug", "off", "rangekeeper_node=trace"] {
            assert!(filter(levels).is_ok(), "{levels}");
        }
        for (levels, part) in [("infoo", "infoo"), ("info,", ""), ("info,a=loud", "a=loud")] {
            let error = filter(levels).expect_err(levels).to_string();
            assert!(error.contains(&format!("{part:?} is neither")), "{error}");
        }
    }
}
