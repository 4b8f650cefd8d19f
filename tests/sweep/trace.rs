//! What `strace` wrote down: the calls of a run that touch the estate.

use std::collections::HashMap;
use std::path::Path;

/// The calls that change a file system, make a change durable, or open what is changed.
pub const CALLS: &str = "open,openat,openat2,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,syncfs,sync_file_range,rename,renameat,\
    renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,truncate,fallocate,link,linkat,symlink,symlinkat,chmod,fchmod,fchmodat,\
    utimensat,copy_file_range,flock";

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name of the thread.
    pub thread: String,
    /// The name of the call.
    pub name: String,
    /// What it works on, below the estate's folder.
    pub path: String,
    /// What `strace -P` is to be told so that it finds this call; absolute paths begin with `ROOT`. None where the path is different each time.
    pub select: Option<String>,
    /// Which of the calls of this name on this path it is in its thread, from 1 on.
    pub nth: usize,
}

impl Call {
    /// What calls have in common that do the same on files of the same kind.
    pub fn kind(&self) -> String {
        format!("{} {}", self.name, general(&self.path))
    }

    /// Who makes the call: one of the two threads of the log, or whoever else comes along.
    pub fn role(&self) -> &str {
        if self.thread.starts_with("audit-") { &self.thread } else { "" }
    }
}

/// A path in which what differs from run to run, or from record to record, is replaced.
fn general(path: &str) -> String {
    let part = |part: &str| {
        if part.starts_with(".new-") {
            return ".new-*".to_owned();
        }
        if is_of_run(part) {
            return "RUN.plan".to_owned();
        }
        let mut out = String::new();
        for c in part.chars() {
            let c = if c.is_ascii_digit() { '#' } else { c };
            if c != '#' || !out.ends_with('#') {
                out.push(c);
            }
        }
        out
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Whether a name is that of a run's plan.
fn is_of_run(name: &str) -> bool {
    name.strip_suffix(".plan").and_then(|name| name.split_once("Z-")).is_some_and(|(at, _)| at.contains('T'))
}

/// The calls in the output of `strace -f -y -Y` that touch something below `root`, in order.
pub fn calls(output: &str, root: &Path) -> Vec<Call> {
    let root = root.to_str().unwrap();
    let mut counts: HashMap<(String, String, String), usize> = HashMap::new();
    let mut found = Vec::new();
    for line in output.lines() {
        let Some((thread, call)) = line.split_once("> ") else { continue };
        let Some((name, arguments)) = call.split_once('(') else { continue };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            continue;
        }
        let touched = touched(name, arguments);
        // A call counts under each path by which it can be selected.
        let mut nth = HashMap::new();
        for select in touched.iter().flat_map(|one| [one.handle.as_deref(), one.name.as_deref()]).flatten().chain([""]) {
            let count = counts.entry((thread.to_owned(), name.to_owned(), select.to_owned())).or_default();
            *count += 1;
            nth.insert(select.to_owned(), *count);
        }
        let Some(one) = touched.first() else { continue };
        let Some(path) = one.path().strip_prefix(root).map(|path| path.trim_start_matches('/').to_owned()) else { continue };
        let last = path.rsplit('/').next().unwrap_or_default();
        let stable = !last.starts_with(".new-") && !is_of_run(last);
        let select = one.name.clone().or_else(|| one.handle.clone()).filter(|_| stable);
        let nth = nth[select.as_deref().unwrap_or_default()];
        let select = select.map(|select| select.replace(root, "ROOT"));
        let thread = thread.split_once('<').map_or("", |(_, name)| name).to_owned();
        found.push(Call { thread, name: name.to_owned(), path, select, nth });
    }
    found
}

/// The kinds of calls that a fault met: those that failed with the remark that this was injected, or were never answered.
pub fn struck(output: &str, root: &Path) -> Vec<String> {
    let mut open: HashMap<&str, &str> = HashMap::new();
    let mut met = Vec::new();
    for line in output.lines() {
        let Some((thread, call)) = line.split_once("> ") else { continue };
        let whole = if call.starts_with("<... ") { open.remove(thread).unwrap_or_default() } else { line };
        if call.ends_with("<unfinished ...>") {
            open.insert(thread, line);
        } else if call.ends_with("(INJECTED)") || call.ends_with("= ?") {
            met.push(whole);
        }
    }
    met.extend(open.into_values());
    met.into_iter().flat_map(|line| calls(line, root)).map(|call| call.kind()).collect()
}

/// Something that a call names: by an open handle, by a path, or by a path below a handle.
struct Touched {
    handle: Option<String>,
    name: Option<String>,
}

impl Touched {
    fn path(&self) -> String {
        match (&self.handle, &self.name) {
            (_, Some(name)) if name.starts_with('/') => name.clone(),
            (Some(handle), Some(name)) if name == "." => handle.clone(),
            (Some(handle), Some(name)) => format!("{handle}/{name}"),
            (handle, name) => handle.clone().or_else(|| name.clone()).unwrap_or_default(),
        }
    }
}

/// What a call names in its arguments.
fn touched(name: &str, arguments: &str) -> Vec<Touched> {
    let by_handle = matches!(
        name,
        "write"
            | "writev"
            | "pwrite64"
            | "pwritev"
            | "fsync"
            | "fdatasync"
            | "syncfs"
            | "sync_file_range"
            | "ftruncate"
            | "fallocate"
            | "fchmod"
            | "flock"
    );
    if by_handle {
        let handle = arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path.to_owned());
        return vec![Touched { handle, name: None }];
    }
    let mut found = Vec::new();
    let (mut rest, mut handle) = (arguments, None);
    while let Some(at) = rest.find(['<', '"']) {
        let open = rest.as_bytes()[at];
        let close = if open == b'<' { '>' } else { '"' };
        let Some((text, behind)) = rest[at + 1..].split_once(close) else { break };
        if open == b'<' && text.starts_with("unfinished") {
            break;
        }
        if open == b'<' {
            // Where a name is relative to no handle, the folder that the program was started in is of no interest.
            handle = (!rest[..at].ends_with("AT_FDCWD")).then(|| text.to_owned());
        } else {
            found.push(Touched { handle: handle.take(), name: Some(text.to_owned()) });
        }
        // What an open gave back is not what was asked for.
        if behind.starts_with(") = ") || (name.starts_with("open") && !found.is_empty()) {
            break;
        }
        rest = behind;
    }
    found
}
