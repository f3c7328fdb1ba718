//! Any bytes as a chassis message and as each body, and as what switch blades tell each other: what is understood survives being written and read again.
#![no_main]

use control::joined::hello::Hello;
use control::joined::roster::{News, Roster};
use libfuzzer_sys::fuzz_target;
use wire::ethernet::Frame;
use wire::message::{
    ControlMessage, Header, MAX_BODY_LEN, Message, Notice, Seal, decode_advertise, decode_advertise_across, encode_advertise,
    encode_advertise_across,
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::parse(bytes) {
        let again = [&header.emit()[..], header.body(bytes)].concat();
        assert_eq!(Header::parse(&again), Ok(header));
    }
    if let Some(Ok(message)) = Frame::new_checked(bytes).map(|frame| Message::parse(&frame))
        && let Ok(again) = message.emit(&[])
    {
        assert_eq!(Message::parse(&Frame::new_checked(&again).expect("a whole frame")), Ok(message));
    }
    if let Ok(notice) = Notice::decode(bytes) {
        assert_eq!(Notice::decode(&notice.encode()), Ok(notice));
    }
    // The first octet is the type, the others are the body of a control message.
    if let [number, body @ ..] = bytes
        && let Ok(message) = ControlMessage::decode((*number).into(), body)
    {
        let counter = Seal::of(body).map(|seal| seal.counter);
        let again = message.encode(counter);
        assert_eq!(Seal::of(&again).map(|seal| seal.counter), counter);
        assert_eq!(ControlMessage::decode((*number).into(), &again), Ok(message));
    }
    // Lists that fit into one body come back as they were; longer ones are spread over several.
    if let Ok(identities) = decode_advertise(bytes)
        && let [body] = &encode_advertise(&identities, MAX_BODY_LEN)[..]
    {
        assert_eq!(decode_advertise(body), Ok(identities));
    }
    if let Ok(identities) = decode_advertise_across(bytes)
        && let [body] = &encode_advertise_across(&identities, MAX_BODY_LEN)[..]
    {
        assert_eq!(decode_advertise_across(body), Ok(identities));
    }
    // What switch blades tell each other over trunks.
    if let Some(hello) = Hello::parse(bytes) {
        assert_eq!(Hello::parse(&hello.emit()), Some(hello));
    }
    if let Ok(news) = News::parse(bytes) {
        assert_eq!(News::parse(&news.emit(None)), Ok(news));
    }
    if let Some(roster) = Roster::decode(bytes) {
        assert_eq!(Roster::decode(&roster.encode()), Some(roster));
    }
});
