//! What one value of the file means: each function gives the meaning, or says what was expected.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::DeValue;
use wire::{MacAddr, Vid};

use super::error::suggestion;
use super::speed::{Speed, SpeedParseError};
use super::vids;
use port::spec::{PortKind, PortSpec};

/// Most bytes of a socket path: `sun_path` of unix(7) has 108, the last of which is zero.
const SOCKET_PATH_MAX: usize = 107;
/// Most characters of a name.
const NAME_MAX: usize = 32;

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "expected true or false".to_owned())
}

/// A whole number of `unit` (in the plural, or empty) in `range`.
pub(super) fn integer(unit: &str, range: RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<u64, String> {
    let of_unit = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
    let expected = format!("expected a whole number{of_unit} from {} to {}", range.start(), range.end());
    move |value| number(value).filter(|number| range.contains(number)).ok_or_else(|| expected.clone())
}

/// One of several words.
pub(super) fn choice<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let word = value.as_str().unwrap_or("");
        choices.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            let likely = if word.is_empty() { String::new() } else { suggestion(word, choices.iter().map(|(name, _)| *name)) };
            format!("expected {}{likely}", names.join(" or "))
        })
    }
}

/// A name that is one word on a command line and in a metric.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, String> {
    let fits = |name: &&str| {
        name.len() <= NAME_MAX
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    value.as_str().filter(fits).map(str::to_owned).ok_or_else(|| {
        format!("expected a name of at most {NAME_MAX} letters, digits, `.`, `_` and `-` that begins with a letter, such as \"web1\"")
    })
}

/// The name of something defined elsewhere, whatever its form.
pub(super) fn reference(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "expected the name of a port, such as \"web1\"".to_owned())
}

/// A table with a value for each of several names.
pub(super) fn named<T>(read: impl Fn(&DeValue<'_>) -> Result<T, String>) -> impl Fn(&DeValue<'_>) -> Result<Vec<(String, T)>, String> {
    move |value| {
        let table = value.as_table().ok_or("expected a table such as { blade1 = …, switch = … }")?;
        let entry = |(name, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Ok((name.to_string(), read(value.get_ref()).map_err(|problem| format!("{name}: {problem}"))?))
        };
        table.iter().map(entry).collect()
    }
}

/// Path of a Unix socket.
pub(super) fn socket_path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let fits = |path: &&str| !path.is_empty() && path.len() <= SOCKET_PATH_MAX && !path.contains(char::is_control);
    value
        .as_str()
        .filter(fits)
        .map(PathBuf::from)
        .ok_or_else(|| format!("expected the path of a Unix socket, 1 to {SOCKET_PATH_MAX} bytes long, such as \"/run/bladeswitch.sock\""))
}

/// Path of a file.
pub(super) fn file_path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let fits = |path: &&str| !path.is_empty() && !path.contains(char::is_control);
    value.as_str().filter(fits).map(PathBuf::from).ok_or_else(|| "expected the path of a file, such as \"/etc/bladeswitch.key\"".to_owned())
}

/// An argument of a program.
pub(super) fn argument(value: &DeValue<'_>) -> Result<String, String> {
    let fits = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
    value.as_str().filter(fits).map(str::to_owned).ok_or_else(|| "expected an argument as text, such as \"--socket-mem=512\"".to_owned())
}

/// The address of a station: neither group nor zero.
pub(super) fn station_mac(value: &DeValue<'_>) -> Result<MacAddr, String> {
    const EXPECTED: &str = "expected the MAC address of one station, six hexadecimal octets such as \"02:00:00:00:00:01\"";
    let mac: MacAddr = value.as_str().and_then(|text| text.parse().ok()).ok_or(EXPECTED)?;
    if mac.is_broadcast() {
        return Err(format!("the broadcast address is not a station's: {EXPECTED}"));
    }
    if mac.is_group() {
        return Err(format!("a multicast address (its first octet is odd) is not a station's: {EXPECTED}"));
    }
    if mac.is_zero() {
        return Err(format!("the zero address is nobody's: {EXPECTED}"));
    }
    Ok(mac)
}

/// The address of a host: one that a packet can be sent to over a wire.
pub(super) fn host_ip(value: &DeValue<'_>) -> Result<IpAddr, String> {
    const EXPECTED: &str = "expected the IP address of one host, such as \"198.18.0.1\" or \"2001:db8::1\"";
    let ip: IpAddr = value.as_str().and_then(|text| text.parse().ok()).ok_or(EXPECTED)?;
    let kind = match ip {
        _ if ip.is_unspecified() => "the unspecified address is nobody's",
        _ if ip.is_multicast() => "a multicast address is not a host's",
        _ if ip.is_loopback() => "a loopback address never appears on a wire",
        IpAddr::V4(ip) if ip.is_broadcast() => "the broadcast address is not a host's",
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => "an IPv4-mapped address never appears on a wire, write it as IPv4",
        IpAddr::V4(_) | IpAddr::V6(_) => return Ok(ip),
    };
    Err(format!("{kind}: {EXPECTED}"))
}

/// A VLAN.
pub(super) fn vid(value: &DeValue<'_>) -> Result<Vid, String> {
    match (number(value), value) {
        (Some(number), _) => vids::vid(number).map_err(|error| error.to_string()),
        (None, DeValue::Integer(digits)) if !digits.as_str().starts_with('-') => Err(vids::VidError::TooLarge.to_string()),
        (None, _) => Err(vids::VidError::NotANumber.to_string()),
    }
}

/// A VLAN or a range of them.
pub(super) fn vids(value: &DeValue<'_>) -> Result<RangeInclusive<Vid>, String> {
    match value {
        DeValue::Integer(_) => vid(value).map(|vid| vid..=vid),
        DeValue::String(text) => vids::range(text).map_err(|error| error.to_string()),
        _ => Err(vids::VidError::NotARange.to_string()),
    }
}

/// A rate. A bare number is refused: `speed = 1` might mean anything.
pub(super) fn speed(value: &DeValue<'_>) -> Result<Speed, String> {
    value.as_str().ok_or(SpeedParseError::NotARate).and_then(str::parse).map_err(|error| error.to_string())
}

/// A port spec.
pub(super) fn port_spec(value: &DeValue<'_>) -> Result<PortSpec, String> {
    let text = value.as_str().ok_or_else(|| {
        let forms = [PortKind::Memory, PortKind::Pcap].map(PortKind::form);
        format!("expected one port spec as text, such as \"{}\": a slot has one port", forms.join("\" or \""))
    })?;
    text.parse::<PortSpec>().map_err(|error| error.to_string())
}

/// An integer that is not negative.
fn number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
