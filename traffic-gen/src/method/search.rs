//! Searches for the highest load, count or rate that still passes.

/// The highest `n` of 1 to `max` that passes, if `passes` is true up to it and false above; `None` if not even 1 passes. Begins at
/// `max`, as RFC 2544 §26.1 does.
///
/// # Errors
/// The first of `passes`.
pub fn highest<E>(max: u64, mut passes: impl FnMut(u64) -> Result<bool, E>) -> Result<Option<u64>, E> {
    if max == 0 {
        return Ok(None);
    }
    if passes(max)? {
        return Ok(Some(max));
    }
    let (mut low, mut high) = (0, max);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if passes(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok((low > 0).then_some(low))
}

/// As [`highest`], but ends when what passes and what does not are within `share` of one another.
///
/// # Errors
/// The first of `passes`.
pub fn highest_within<E>(max: u64, share: f64, mut passes: impl FnMut(u64) -> Result<bool, E>) -> Result<Option<u64>, E> {
    if max == 0 {
        return Ok(None);
    }
    if passes(max)? {
        return Ok(Some(max));
    }
    let (mut low, mut high) = (0u64, max);
    while high - low > 1 && (high - low) as f64 > high as f64 * share {
        let middle = low + (high - low) / 2;
        if passes(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok((low > 0).then_some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found_wherever_it_is() {
        for limit in [0, 1, 2, 499, 500, 501, 999, 1000, 1001] {
            let mut trials = 0;
            let found = highest::<()>(1000, |n| {
                trials += 1;
                Ok(n <= limit)
            });
            assert_eq!(found, Ok((limit > 0).then_some(limit.min(1000))));
            assert!(trials <= 12, "{trials}");
        }
        assert_eq!(highest::<()>(0, |_| Ok(true)), Ok(None));
    }

    #[test]
    fn a_share_is_enough() {
        for limit in [1u64, 77, 40_000, 1_488_095] {
            let found = highest_within::<()>(1_488_095, 0.001, |n| Ok(n <= limit)).unwrap().unwrap();
            assert!(found <= limit && found as f64 > limit as f64 * 0.998, "{found} of {limit}");
        }
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(highest(10, |n| if n == 10 { Ok(false) } else { Err("broken") }), Err("broken"));
    }
}
