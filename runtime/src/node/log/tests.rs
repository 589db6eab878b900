use super::*;
use futures::StreamExt;

const WHOSE: Whose<'static> = Whose { namespace: "n", pod: "p", uid: "u", container: "c" };

fn logs(dir: &Path) -> Logs {
    Logs::new(dir.to_owned(), Clock::from_fn(|| Timestamp::from_second(1_700_000_000).unwrap()))
}

async fn text(logs: &Logs, options: Options) -> String {
    let pieces: Vec<_> = logs.read(WHOSE, options).unwrap().collect().await;
    String::from_utf8(pieces.concat()).unwrap()
}

#[tokio::test]
async fn reads_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path());
    let (out, err) = logs.create(WHOSE, 0).unwrap();
    out.write(b"one\ntwo\nthr");
    err.write(b"bad\n");
    out.write(b"ee\nend");
    out.finish();
    assert_eq!(text(&logs, Options::default()).await, "one\ntwo\nbad\nthree\nend\n");
    let options = Options { tail_lines: Some(2), timestamps: true, ..Options::default() };
    let at = "2023-11-14T22:13:20.000000000Z";
    assert_eq!(text(&logs, options).await, format!("{at} three\n{at} end\n"));
    assert_eq!(text(&logs, Options { limit_bytes: Some(5), ..Options::default() }).await, "one\nt");
    let since = Timestamp::from_second(1_700_000_001).ok();
    assert_eq!(text(&logs, Options { since, ..Options::default() }).await, "");
    assert!(logs.read(WHOSE, Options { previous: true, ..Options::default() }).is_none());
    logs.close(WHOSE, 0);
    let (out, _) = logs.create(WHOSE, 1).unwrap();
    out.write(b"again\n");
    assert_eq!(text(&logs, Options { previous: true, tail_lines: Some(1), ..Options::default() }).await, "end\n");
    assert_eq!(text(&logs, Options::default()).await, "again\n");
}

#[tokio::test]
async fn followers_see_every_line_over_a_rotation_until_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path());
    let (out, _) = logs.create(WHOSE, 0).unwrap();
    out.write(b"first\n");
    let mut stream = Box::pin(logs.read(WHOSE, Options { follow: true, ..Options::default() }).unwrap());
    assert_eq!(stream.next().await.unwrap(), "first\n");
    let long = vec![b'x'; 15_000];
    let writer = tokio::spawn({
        let logs = logs.clone();
        async move {
            for _ in 0..1500 {
                out.write(&long);
                out.write(b"\n");
                tokio::task::yield_now().await;
            }
            out.write(b"last\n");
            logs.close(WHOSE, 0);
        }
    });
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece);
    }
    writer.await.unwrap();
    assert!(all.ends_with(b"last\n"));
    assert!(dir.path().join("n_p_u/c/0.log.1").exists(), "it was rotated");
    assert!(all.iter().filter(|byte| **byte == b'\n').count() > 700, "a slow follower may miss a whole rotation");
}
