//! openraft's random numbers come from the reactor: the kernel's in the real world, the seed's in the
//! simulated one.

use std::convert::Infallible;

use strata_engine::reactor;

/// The reactor's random source behind the trait of the `rand` crates.
#[derive(Clone, Copy, Debug)]
pub struct ReactorRandom;

impl rand_core::TryRng for ReactorRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The upper half: both halves of the source are equally good.
        Ok((reactor::random_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(reactor::random_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        reactor::random_bytes(bytes);
        Ok(())
    }
}
