//! A command as a WASI 0.3 component: counts down, a line a second, from the number that is its argument, and ends.

use wasip3::cli::{environment, stdout};
use wasip3::clocks::monotonic_clock;
use wasip3::wit_stream;

const SECOND_NS: u64 = 1_000_000_000;
const FROM: u32 = 3;

wasip3::cli::command::export!(Countdown);

struct Countdown;

impl wasip3::exports::cli::run::Guest for Countdown {
    async fn run() -> Result<(), ()> {
        let from = environment::get_arguments().get(1).map_or(Ok(FROM), |text| text.parse()).map_err(|_| ())?;
        let (mut lines, written) = wit_stream::new();
        let count = async {
            for number in (1..=from).rev() {
                lines.write_all(format!("{number}\n").into_bytes()).await;
                monotonic_clock::wait_for(SECOND_NS).await;
            }
            lines.write_all(b"lift-off\n".to_vec()).await;
            drop(lines);
        };
        let (printed, ()) = futures::join!(stdout::write_via_stream(written).into_future(), count);
        printed.map_err(|_| ())
    }
}
