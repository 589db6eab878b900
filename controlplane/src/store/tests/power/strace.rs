//! What a process asked the kernel to do with its files, as strace writes it down.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Everything that changes a file, a folder or what a descriptor stands for. `?` is for calls that some machines lack.
const CALLS: &str = "?open,openat,?creat,?openat2,close,?dup,?dup2,dup3,fcntl,lseek,write,pwrite64,writev,pwritev,\
                     ?pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,sync,syncfs,msync,mmap,\
                     ?rename,renameat,renameat2,?link,linkat,?symlink,symlinkat,?unlink,unlinkat,?mkdir,mkdirat,\
                     ?rmdir,copy_file_range,?sendfile,splice,ioctl";
/// No single write is larger.
const BYTES_MAX: usize = 64 << 20;

/// A call whose begin and end may have other calls between them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) answer: i64,
}

/// The calls of all threads, in the order in which the kernel saw them begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Begin(usize),
    End(usize),
}

/// Runs strace with this command after it; its log goes to a file.
pub(super) fn record(log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "--seccomp-bpf", "-e", "signal=none", "-s", &BYTES_MAX.to_string()]);
    command.args(["-e", &format!("trace={CALLS}"), "-o"]).arg(log).arg("--");
    command
}

/// Why nothing can be recorded here.
pub(super) fn refusal() -> Option<String> {
    match Command::new("strace").args(["-f", "-o", "/dev/null", "--seccomp-bpf", "true"]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it fails").to_owned()),
        Err(error) => Some(format!("strace does not run: {error}")),
    }
}

pub(super) fn read(log: &str) -> (Vec<Call>, Vec<Event>) {
    let (mut calls, mut events) = (Vec::new(), Vec::new());
    let mut unfinished = HashMap::new();
    for line in log.lines() {
        let (thread, said) = line.split_once(' ').unwrap_or_default();
        let said = said.trim_start();
        if let Some(begun) = said.strip_suffix(" <unfinished ...>") {
            // The end tells the answer, and the rest of what was asked.
            calls.push(Call::of(begun));
            events.push(Event::Begin(calls.len() - 1));
            unfinished.insert(thread, (calls.len() - 1, begun));
        } else if let Some(ended) = said.strip_prefix("<... ") {
            let (_, rest) = ended.split_once(" resumed>").expect("a call goes on");
            let Some((call, begun)) = unfinished.remove(thread) else { continue };
            calls[call].read(&format!("{begun}{rest}"));
            events.push(Event::End(call));
        } else if said.starts_with(|c: char| c.is_ascii_lowercase()) {
            calls.push(Call::of(said));
            events.extend([Event::Begin(calls.len() - 1), Event::End(calls.len() - 1)]);
        }
    }
    (calls, events)
}

/// Notes in a log how much was written by whoever the end of the process interrupted: nobody was told, but the next
/// process finds it. What is in the file now tells.
pub(super) fn settle(log: &str) -> String {
    let (mut paths, mut unfinished, mut settled) = (HashMap::new(), HashMap::new(), String::new());
    for line in log.lines() {
        let (thread, said) = line.split_once(' ').unwrap_or_default();
        let said = said.trim_start();
        if let Some(begun) = said.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, Call::of(begun));
        } else if let Some(ended) = said.strip_prefix("<... ") {
            let call = unfinished.remove(thread);
            if let (Some(before), Some(call)) = (ended.strip_suffix("= ?"), call)
                && let Some(written) = call.written(&paths)
            {
                settled += &format!("{thread} <... {before}= {written}\n");
                continue;
            }
        } else if said.starts_with("openat(") {
            let call = Call::of(said);
            paths.insert(call.answer, call.path(1));
        }
        settled += line;
        settled.push('\n');
    }
    settled
}

// === impl Call ===

impl Call {
    fn of(said: &str) -> Call {
        let mut call = Call { name: String::new(), arguments: Vec::new(), answer: -1 };
        call.read(said);
        call
    }

    /// How much of what it was to write is in the file.
    fn written(&self, paths: &HashMap<i64, String>) -> Option<usize> {
        let path = paths.get(&self.number(0)).filter(|_| self.name == "pwrite64")?;
        let (bytes, from) = (self.bytes(1), usize::try_from(self.number(3)).ok()?);
        let file = std::fs::read(path).ok()?;
        let found = file.get(from..).unwrap_or_default();
        Some(bytes.iter().zip(found).take_while(|(wanted, found)| wanted == found).count())
    }

    fn read(&mut self, said: &str) {
        let (name, rest) = said.split_once('(').unwrap_or((said, ""));
        name.clone_into(&mut self.name);
        let (arguments, end) = split(rest);
        self.arguments = arguments;
        // `= 3`, `= -1 ENOENT (No such file or directory)`; nothing while the call is under way.
        let number = end.trim_start().strip_prefix("= ").and_then(|answer| answer.split(' ').next());
        // Addresses are hexadecimal, and nobody asks for them.
        self.answer = number.map_or(-1, |number| number.parse().unwrap_or(0));
    }

    pub(super) fn number(&self, at: usize) -> i64 {
        let text = self.arguments.get(at).map_or("", String::as_str);
        text.parse().unwrap_or_else(|_| panic!("argument {at} of {} is no number: {text}", self.name))
    }

    /// The bytes of a string in quotes.
    pub(super) fn bytes(&self, at: usize) -> Vec<u8> {
        quoted(&self.arguments[at])
    }

    pub(super) fn path(&self, at: usize) -> String {
        String::from_utf8(self.bytes(at)).expect("the paths of the test are text")
    }

    /// The bytes of a list of pieces.
    pub(super) fn pieces(&self, at: usize) -> Vec<u8> {
        let list = &self.arguments[at];
        let pieces = list.split("iov_base=").skip(1).map(|piece| {
            let end = piece.rfind(", iov_len=").expect("a piece has a length");
            quoted(&piece[..end])
        });
        pieces.flatten().collect()
    }
}

/// The arguments, at the commas that are not within quotes or brackets, and what comes after them.
fn split(text: &str) -> (Vec<String>, &str) {
    let (mut parts, mut begin, mut depth, mut is_quoted, mut is_escaped) = (Vec::new(), 0, 0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'[' | b'{' | b'(' => depth += 1,
            b')' if depth == 0 => {
                parts.push(text[begin..at].trim().to_owned());
                return (parts, &text[at + 1..]);
            }
            b']' | b'}' | b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(text[begin..at].trim().to_owned());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim().to_owned());
    (parts, "")
}

fn quoted(text: &str) -> Vec<u8> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text = text.expect("a string is in quotes, and whole").as_bytes();
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        if text[at] != b'\\' {
            bytes.push(text[at]);
            at += 1;
            continue;
        }
        let digits = text[at + 1..].iter().take(3).take_while(|digit| (b'0'..=b'7').contains(*digit)).count();
        if digits > 0 {
            let octal = text[at + 1..=at + digits].iter().fold(0_u32, |all, digit| all * 8 + u32::from(digit - b'0'));
            bytes.push(u8::try_from(octal).expect("one byte"));
            at += 1 + digits;
            continue;
        }
        bytes.push(match text[at + 1] {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            other => other,
        });
        at += 2;
    }
    bytes
}

#[test]
fn a_log_of_two_threads() {
    let log = "7 openat(AT_FDCWD, \"/a b\", O_RDWR|O_CREAT, 0644) = 3\n\
               7 write(3, \"x\\0011\\\\, \\\"\\n\", 7 <unfinished ...>\n\
               8 fdatasync(3)                      = 0\n\
               7 <... write resumed>)              = 7\n\
               8 writev(3, [{iov_base=\"ab\", iov_len=2}, {iov_base=\"), \\0\", iov_len=4}], 2) = 6\n\
               7 unlink(\"/c\") = -1 ENOENT (No such file or directory)\n\
               8 +++ exited with 0 +++\n";
    let (calls, events) = read(log);
    assert_eq!((calls[0].path(1).as_str(), calls[0].answer), ("/a b", 3));
    assert_eq!((calls[1].bytes(1).as_slice(), calls[1].answer, calls[1].number(2)), (&b"x\x011\\, \"\n"[..], 7, 7));
    assert_eq!((calls[2].name.as_str(), calls[2].number(0), calls[2].answer), ("fdatasync", 3, 0));
    assert_eq!(calls[3].pieces(1), b"ab), \0");
    assert_eq!(calls[4].answer, -1);
    let order = [Event::Begin(1), Event::Begin(2), Event::End(2), Event::End(1), Event::Begin(3)];
    assert_eq!(events[2..7], order);
}

#[test]
fn a_write_that_the_end_interrupts_wrote_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, b"..abc").unwrap();
    let log = |answer: &str| {
        let path = path.display();
        format!(
            "7 openat(AT_FDCWD, \"{path}\", O_RDWR, 0644) = 3\n\
             7 pwrite64(3, \"abcd\", 4, 2 <unfinished ...>\n\
             8 +++ exited with 0 +++\n\
             7 <... pwrite64 resumed>)           = {answer}\n"
        )
    };
    assert_eq!(settle(&log("?")), log("3"));
    assert_eq!(settle(&log("4")), log("4"), "who was told knows");
    let (calls, events) = read(&settle(&log("?")));
    assert_eq!((calls[1].answer, events.last()), (3, Some(&Event::End(1))));
}
