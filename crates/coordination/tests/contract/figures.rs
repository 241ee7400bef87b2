//! Figures of servers that are not what they should be.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use rangekeeper_coordination::{Figures, FiguresError, watch_figures};
use rangekeeper_telemetry::Registry;
use tokio_util::sync::CancellationToken;

/// A server that gives `answer` to every command.
fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut command = [0; 4];
            stream.read_exact(&mut command).unwrap();
            assert_eq!(&command, b"mntr");
            stream.write_all(answer).unwrap();
        }
    });
    address
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn a_server_may_keep_its_figures_to_itself() {
    let server = server(b"mntr is not executed because it is not in the whitelist.\n");
    let error = block_on(Figures::ask(&server)).unwrap_err();
    assert_eq!(error, FiguresError::Forbidden { server });
}

#[test]
fn a_server_may_be_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = block_on(Figures::ask(&address)).unwrap_err();
    assert!(matches!(error, FiguresError::Unreachable { .. }), "{error}");
}

#[test]
fn the_figures_of_all_servers_are_exported() {
    let servers = vec![
        server(b"This ZooKeeper instance is not currently serving requests\n"),
        server(
            b"zk_server_state\tleader\nzk_num_alive_connections\t3\nzk_watch_count\t6\n\
                 zk_outstanding_requests\t1\nzk_znode_count\t17\nzk_avg_latency\t0.5\n",
        ),
    ];
    let registry = Registry::new();
    let text = block_on(async {
        let stop = CancellationToken::new();
        let watching = tokio::spawn(watch_figures(
            servers.clone(),
            Duration::from_millis(10),
            registry.clone(),
            stop.clone(),
        ));
        let text = loop {
            let text = registry.encode();
            if text.contains("_watches{") {
                break text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        stop.cancel();
        watching.await.unwrap();
        text
    });
    for (name, labels, value) in [
        ("server_state", format!("server=\"{}\",state=\"not_serving\"", servers[0]), 1),
        ("server_state", format!("server=\"{}\",state=\"leader\"", servers[1]), 1),
        ("watches", format!("server=\"{}\"", servers[1]), 6),
        ("connections", format!("server=\"{}\"", servers[1]), 3),
    ] {
        let line = format!("rangekeeper_ensemble_{name}{{{labels}}} {value}");
        assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
    }
}
