//! Reading pcapng from a pipe: a block at a time, so that an endless capture needs no more memory than its longest block.
//!
//! The rules are those of a file ([`CaptureFile`](super::CaptureFile)): good frames first, then at most one error that names the
//! byte. What differs: interfaces are known only once their blocks have come, and a pcap file (which has no interfaces that could be
//! named) is refused.
//!
//! Limits: blocks of [`BLOCK_LEN_MAX`] bytes. Threads: reads where it is called, and blocks there.

use std::io::{self, Read};
use std::path::PathBuf;

use super::error::{CaptureError, Fault, Problem};
use super::interface::{Interface, LinkType};
use super::pcapng;
use super::read::{CapturedFrame, Cursor, Item};

/// The longest block that is read, in bytes: a frame of the longest kind with as many comments again, and room to spare.
pub const BLOCK_LEN_MAX: usize = 1 << 20;

/// Bytes asked of the input at once.
const READ_LEN: usize = 1 << 16;

/// A capture that is still being written by somebody else.
pub struct CaptureStream<R> {
    input: R,
    name: PathBuf,
    buffer: Vec<u8>,
    /// Where in `buffer` the next block begins, and where what was read ends.
    start: usize,
    end: usize,
    cursor: Cursor,
    interfaces: Vec<Interface>,
    frames: u64,
    ended: bool,
}

impl<R: Read> CaptureStream<R> {
    /// Reads from `input`; `name` is what errors call it.
    pub fn new(input: R, name: impl Into<PathBuf>) -> CaptureStream<R> {
        CaptureStream {
            input,
            name: name.into(),
            buffer: Vec::new(),
            start: 0,
            end: 0,
            cursor: Cursor::at_start(None),
            interfaces: Vec::new(),
            frames: 0,
            ended: false,
        }
    }

    /// The interfaces described so far.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Is a whole block at hand? If not, [`next_frame`](Self::next_frame) waits for the input: a good moment to pass on what has
    /// been made of the frames so far.
    pub fn is_ready(&self) -> bool {
        let rest = &self.buffer[self.start..self.end];
        pcapng::block_len(rest, &self.cursor).is_none_or(|len| len <= rest.len()) && rest.len() >= 12
    }

    /// The next frame; waits for it. `None` at the end of the input and after an error.
    ///
    /// # Errors
    /// If the input cannot be read, is not pcapng, is damaged, or has a frame that is not Ethernet.
    pub fn next_frame(&mut self) -> Option<Result<CapturedFrame<'_>, CaptureError>> {
        let block = loop {
            if self.ended {
                return None;
            }
            let block = match self.fill_block() {
                Ok(0) => {
                    self.ended = true;
                    return None;
                }
                Ok(len) => self.start..self.start + len,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            self.start = block.end;
            // Looked at twice, since a frame that is returned from within a loop would borrow the buffer for all of it.
            let before = self.cursor.clone();
            match pcapng::next_block(&self.buffer[block.clone()], &self.interfaces, &mut self.cursor) {
                Ok(None) => {}
                Ok(Some(Item::Interface(interface))) => self.interfaces.push(interface),
                Ok(Some(Item::Frame(frame))) => {
                    let link_type = self.interfaces.get(frame.interface as usize).map(|interface| interface.link_type);
                    if let Some(other) = link_type.filter(|&link_type| link_type != LinkType::ETHERNET) {
                        let fault = Fault { offset: frame.offset, problem: Problem::LinkType(other) };
                        return Some(Err(self.fail(fault)));
                    }
                    self.cursor = before;
                    break block;
                }
                Err(fault) => return Some(Err(self.fail(fault))),
            }
        };
        match pcapng::next_block(&self.buffer[block], &self.interfaces, &mut self.cursor) {
            Ok(Some(Item::Frame(frame))) => {
                self.frames += 1;
                Some(Ok(frame))
            }
            _ => None, // It was a frame just now.
        }
    }

    /// Has a whole block at `start`, reading if need be; returns its length, 0 at the end of the input.
    fn fill_block(&mut self) -> Result<usize, CaptureError> {
        loop {
            let rest = &self.buffer[self.start..self.end];
            if self.cursor.at == 0 && rest.len() >= 4 && rest[..4] != pcapng::SECTION_HEADER.to_le_bytes() {
                let found = format!("{:02x} {:02x} {:02x} {:02x}", rest[0], rest[1], rest[2], rest[3]);
                return Err(self.fail(Fault::new(0, Problem::wrong("magic number", "that of a pcapng file, 0a 0d 0d 0a", found))));
            }
            if rest.len() >= 12 {
                match pcapng::block_len(rest, &self.cursor) {
                    // A wrong length: the reader of blocks says what is wrong with it.
                    None => return Ok(rest.len()),
                    Some(len) if len > BLOCK_LEN_MAX => {
                        let problem = Problem::wrong("block length", format!("at most {BLOCK_LEN_MAX}"), len);
                        return Err(self.fail(Fault::new(self.cursor.at, problem)));
                    }
                    Some(len) if len <= rest.len() => return Ok(len),
                    Some(_) => {}
                }
            }
            if self.read_more()? == 0 {
                // Whatever is left is a block cut short; nothing is left at a proper end.
                return Ok(self.end - self.start);
            }
        }
    }

    fn read_more(&mut self) -> Result<usize, CaptureError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < self.end + READ_LEN {
            self.buffer.resize(self.end + READ_LEN, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(CaptureError::Io { path: self.name.clone(), source }),
            }
        }
    }

    fn fail(&mut self, fault: Fault) -> CaptureError {
        self.ended = true;
        let (path, Fault { offset, problem }) = (self.name.clone(), fault);
        if offset == 0 {
            return CaptureError::Refused { path, offset, problem };
        }
        CaptureError::Record { path, offset, problem, frames: self.frames }
    }
}
