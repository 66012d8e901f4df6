//! Fields of frames. A reader never reads beyond its frame, and a writer sets the frame's length when it is done.

use crate::error::Fault;

/// Reads fields off a frame.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(frame: &'a [u8]) -> Reader<'a> {
        Reader { rest: frame }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| Fault::protocol("a frame ends before its last field"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let taken = self.take(N)?;
        let mut array = [0; N];
        array.copy_from_slice(taken);
        Ok(array)
    }

    pub fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn id(&mut self) -> Result<[u8; 16], Fault> {
        self.array()
    }

    pub fn text(&mut self) -> Result<&'a str, Fault> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        std::str::from_utf8(self.take(length)?).map_err(|_| Fault::protocol("a text that is no UTF-8"))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// A count of things that follow, each of which has at least `least` bytes: more than can follow is none.
    pub fn count(&mut self, least: usize) -> Result<usize, Fault> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / least.max(1) {
            return Err(Fault::protocol("a count of more than there is"));
        }
        Ok(count)
    }

    /// # Errors
    ///
    /// Something is left.
    pub fn end(self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::protocol("bytes behind the last field")) }
    }
}

/// Appends one frame to a buffer.
pub struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub fn new(buffer: &'a mut Vec<u8>, kind: u8, sequence: u64) -> Writer<'a> {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; super::PREFIX]);
        buffer.push(kind);
        buffer.extend_from_slice(&sequence.to_le_bytes());
        Writer { buffer, start }
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.buffer.push(value);
        self
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.buffer.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.buffer.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Texts that are longer than a field may be are cut: only texts for people can be.
    pub fn text(&mut self, value: &str) -> &mut Self {
        let value = cut(value, usize::from(u16::MAX));
        // The length fits: it was cut to that.
        self.buffer.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.buffer.extend_from_slice(value.as_bytes());
        self
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // No frame is longer than `MAX_FRAME`, which fits.
        self.u32(value.len() as u32);
        self.buffer.extend_from_slice(value);
        self
    }

    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.buffer.extend_from_slice(value);
        self
    }

    pub fn end(&mut self) {
        let length = (self.buffer.len() - self.start - super::PREFIX) as u32;
        self.buffer[self.start..self.start + super::PREFIX].copy_from_slice(&length.to_le_bytes());
    }
}

/// The beginning of a text, of at most `most` bytes.
pub fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = b"before".to_vec();
        Writer::new(&mut buffer, 7, 1 << 40).u8(1).u32(2).u64(3).text("vier").bytes(b"five").end();
        let frame = super::super::next_frame(&buffer[6..]).unwrap().unwrap();
        let mut reader = Reader::new(frame);
        assert_eq!((reader.u8().unwrap(), reader.u64().unwrap()), (7, 1 << 40));
        assert_eq!((reader.u8().unwrap(), reader.u32().unwrap(), reader.u64().unwrap()), (1, 2, 3));
        assert_eq!((reader.text().unwrap(), reader.bytes().unwrap()), ("vier", &b"five"[..]));
        reader.end().unwrap();
    }

    #[test]
    fn a_length_beyond_the_frame_is_refused() {
        assert!(Reader::new(&[5, 0, b'a']).text().is_err());
        assert!(Reader::new(&[255, 255, 255, 255, 0]).bytes().is_err());
        assert!(Reader::new(&[255, 255, 255, 255, 0]).count(1).is_err());
        assert!(Reader::new(&[1, 0, 0xff]).text().is_err());
        assert!(Reader::new(&[1]).end().is_err());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
