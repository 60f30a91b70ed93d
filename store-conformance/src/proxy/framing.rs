//! Finds the end of a request in each protocol.

/// The next message of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request of this many bytes.
    Request(usize),
    /// Another message of this many bytes.
    Other(usize),
    /// More bytes are needed to find the end of the message.
    Unfinished,
}

/// Finds the first message in the bytes that a client sent. Only requests are counted and
/// cut. Without a framing, the bytes of each read count as one request.
pub type Framing = fn(&[u8]) -> Message;

/// The framing of Redis and Valkey: an array of texts. Commands that set up a connection
/// (`HELLO`, `AUTH`, `SELECT`, `CLIENT`) do not count as requests. A transaction from
/// `MULTI` to `EXEC` is one request.
pub fn redis(bytes: &[u8]) -> Message {
    let Some((name, mut length)) = command(bytes) else {
        return Message::Unfinished;
    };
    match &name[..] {
        b"HELLO" | b"AUTH" | b"SELECT" | b"CLIENT" => return Message::Other(length),
        b"MULTI" => loop {
            match command(&bytes[length..]) {
                None => return Message::Unfinished,
                Some((name, more)) => {
                    length += more;
                    if name == b"EXEC" {
                        break;
                    }
                }
            }
        },
        _ => {}
    }
    Message::Request(length)
}

/// The name of the first command to Redis, and its length.
fn command(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    fn line(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let end = bytes
            .get(from..)?
            .windows(2)
            .position(|two| two == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[from + 1..from + end]).ok()?;
        Some((text.parse().ok()?, from + end + 2))
    }
    let (count, mut at) = line(bytes, 0)?;
    let mut name = None;
    for _ in 0..count {
        let (length, from) = line(bytes, at)?;
        name.get_or_insert(from..from + length);
        at = from + length + 2;
    }
    (at <= bytes.len()).then(|| (bytes[name.unwrap_or(0..0)].to_ascii_uppercase(), at))
}

/// The framing of PostgreSQL: messages with a type and a length. Executing a prepared
/// statement and a simple query are requests.
pub fn postgres(bytes: &[u8]) -> Message {
    // The first message of a connection has no type. Its length is small, so its first
    // byte is zero.
    let typed = usize::from(bytes.first() != Some(&0));
    let Some(length) = bytes.get(typed..typed + 4) else {
        return Message::Unfinished;
    };
    let digits = length.iter().map(|byte| usize::from(*byte));
    let length = typed + digits.fold(0, |length, digit| length << 8 | digit);
    match bytes[0] {
        _ if length > bytes.len() => Message::Unfinished,
        b'E' | b'Q' => Message::Request(length),
        _ => Message::Other(length),
    }
}

/// The framing of HTTP/1.1: a head, and a body whose length is in the head.
pub fn http(bytes: &[u8]) -> Message {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Message::Unfinished;
    };
    let lines = String::from_utf8_lossy(&bytes[..head]);
    let length = lines.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let whole = head + 4 + length.unwrap_or(0);
    match bytes.len() < whole {
        true => Message::Unfinished,
        false => Message::Request(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_redis_is_found_whole() {
        let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let mut two = get.to_vec();
        two.extend_from_slice(b"*1\r\n$5\r\nHELLO\r\n");
        assert_eq!(redis(&two), Message::Request(get.len()));
        assert_eq!(redis(&two[get.len()..]), Message::Other(15));
        for end in 0..get.len() {
            assert_eq!(redis(&get[..end]), Message::Unfinished, "{end}");
        }
        let both = [b"*1\r\n$5\r\nMULTI\r\n", &get[..], b"*1\r\n$4\r\nEXEC\r\n"].concat();
        assert_eq!(
            redis(&[&both, &get[..]].concat()),
            Message::Request(both.len())
        );
        for end in 0..both.len() {
            assert_eq!(redis(&both[..end]), Message::Unfinished, "{end}");
        }
    }

    #[test]
    fn a_request_to_postgres_is_found_whole() {
        let execute = b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
        assert_eq!(postgres(execute), Message::Request(10));
        assert_eq!(postgres(&execute[10..]), Message::Other(5));
        assert_eq!(postgres(b"\0\0\0\x08\x04\xd2\x16\x2f"), Message::Other(8));
        for end in 0..10 {
            assert_eq!(postgres(&execute[..end]), Message::Unfinished, "{end}");
        }
    }

    #[test]
    fn a_request_over_http_is_found_whole() {
        let put = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nhost: x\r\n\r\nabcde";
        let mut two = put.to_vec();
        two.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(http(&two), Message::Request(put.len()));
        assert_eq!(http(&two[put.len()..]), Message::Request(18));
        for end in 0..put.len() {
            assert_eq!(http(&put[..end]), Message::Unfinished, "{end}");
        }
    }
}
