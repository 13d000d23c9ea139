//! Something to compute.

/// All primes up to a number, in order.
pub(crate) fn primes(up_to: u32) -> Vec<u32> {
    let mut is_prime = vec![true; up_to as usize + 1];
    let mut primes = Vec::new();
    for n in 2..is_prime.len() {
        if is_prime[n] {
            primes.extend(u32::try_from(n));
            for multiple in (n * n..is_prime.len()).step_by(n) {
                is_prime[multiple] = false;
            }
        }
    }
    primes
}
