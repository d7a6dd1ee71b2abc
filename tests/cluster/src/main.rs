//! `cluster`: see [`cluster::command`].

fn main() -> std::process::ExitCode {
    piece::main(cluster::command::run)
}
