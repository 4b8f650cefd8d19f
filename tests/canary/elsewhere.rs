//! Somebody else who has a file open.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::image::text;

/// This process, which is another one than the program under test.
pub struct Holder {
    pub file: File,
}

impl Holder {
    pub fn of(path: &Path, writing: bool) -> Self {
        Self { file: OpenOptions::new().read(true).write(writing).open(path).unwrap() }
    }
}

/// A process that has a file mapped for writing and holds no descriptor of it.
pub struct Mapping {
    child: Child,
    size: usize,
}

impl Mapping {
    pub fn of(path: &Path, size: usize) -> Self {
        let script = "
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
size = int(sys.argv[2])
fd = os.open(sys.argv[1], os.O_RDWR)
at = libc.mmap(None, size, 3, 1, fd, 0)
os.close(fd)
print('mapped', flush=True)
text = sys.stdin.readline().strip().encode()
ctypes.memmove(at, text * (size // len(text)), size)
libc.msync(at, size, 4)
print('written', flush=True)
";
        let size_text = size.to_string();
        let mut child = Command::new("python3")
            .args(["-c", script, text(path), &size_text])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed where the tests run");
        let mut line = String::new();
        // The pipe stays open: one line is all that was written to it.
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mapped\n");
        Self { child, size }
    }

    /// Writes through the mapping, as a program would that knows nothing of what became of the file.
    pub fn write(mut self, canary: &str) {
        assert_eq!(self.size % canary.len(), 0);
        writeln!(self.child.stdin.take().unwrap(), "{canary}").unwrap();
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "written\n");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
