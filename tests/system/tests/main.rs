//! The built binary among real processes. One program for all, so that tests that wait do so
//! beside each other.

mod answers;
mod cluster_clock;
mod cluster_commands;
mod cluster_copies;
mod cluster_disks;
mod cluster_folders;
mod cluster_folds;
mod cluster_kills;
mod cluster_links;
mod cluster_slow;
mod cluster_zookeeper;
mod deploy;
mod deploy_cluster;
mod disk_full;
mod kill;
mod operating;
mod power_loss;
