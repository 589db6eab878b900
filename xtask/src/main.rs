//! The project's own tasks, as `cargo xtask NAME`.

mod facts;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((task, rest)) if task == "facts" => facts::run(rest),
        _ => anyhow::bail!("usage: cargo xtask facts [FOLDER]"),
    }
}
