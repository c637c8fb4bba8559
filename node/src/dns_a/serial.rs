//! Serial number arithmetic (RFC 1982): SOA serials are points on a circle.

/// Whether `one` comes after `other`. Exactly half the circle apart the RFC leaves it undefined: then it does not, and
/// the zone is fetched anew when its operator moves the serial on.
pub fn is_after(one: u32, other: u32) -> bool {
    let ahead = one.wrapping_sub(other);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::is_after;

    #[test]
    fn a_serial_may_wrap() {
        assert!(is_after(1, 0) && is_after(0, u32::MAX) && is_after(5, u32::MAX - 5));
        assert!(!is_after(7, 7) && !is_after(u32::MAX, 0) && !is_after(1 << 31, 0) && !is_after(0, 1 << 31));
    }

    proptest! {
        #[test]
        fn of_two_serials_at_most_one_is_after_the_other(one: u32, other: u32) {
            prop_assert!(!(is_after(one, other) && is_after(other, one)));
            prop_assert_eq!(is_after(one, other) || is_after(other, one) || one == other, one.wrapping_sub(other) != 1 << 31);
        }
    }
}
