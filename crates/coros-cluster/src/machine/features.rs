//! Single features of processors: what a program may use that was built for one kind of them, as with
//! `-C target-cpu=native`, and what a processor has.
//!
//! They are those of which the compiler tells, without being a nightly one, both whether a program may use them and
//! whether they are there.

use serde::{Deserialize, Serialize};

/// Some of the features that there are on one architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CpuFeatures(u64);

macro_rules! features {
    ($($arch:tt by $is_detected:ident: [$($name:tt)*])*) => {
        /// The names of those of an architecture, each at the place of its bit.
        fn named(arch: &str) -> &'static [&'static str] {
            match arch {
                $($arch => &[$($name),*],)*
                _ => &[],
            }
        }

        $(const _: () = assert!([$($name),*].len() <= u64::BITS as usize, $arch);)*

        impl CpuFeatures {
            /// What the processor can do that this runs on, and its operating system has enabled.
            pub(super) fn detected() -> CpuFeatures {
                $(
                    #[cfg(target_arch = $arch)]
                    return CpuFeatures::of([$(std::arch::$is_detected!($name)),*]);
                )*
                #[cfg(not(any($(target_arch = $arch),*)))]
                CpuFeatures::default()
            }

            /// What this program was allowed to use when it was compiled.
            pub(super) fn compiled() -> CpuFeatures {
                $(
                    #[cfg(target_arch = $arch)]
                    return CpuFeatures::of([$(cfg!(target_feature = $name)),*]);
                )*
                #[cfg(not(any($(target_arch = $arch),*)))]
                CpuFeatures::default()
            }
        }
    };
}

features! {
    "x86_64" by is_x86_feature_detected: [
        "adx" "aes" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw" "avx512cd" "avx512dq"
        "avx512f" "avx512fp16" "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vl" "avx512vnni"
        "avx512vp2intersect" "avx512vpopcntdq" "avxifma" "avxneconvert" "avxvnni" "avxvnniint16"
        "avxvnniint8" "bmi1" "bmi2" "cmpxchg16b" "f16c" "fma" "fxsr" "gfni" "kl" "lzcnt" "movbe"
        "pclmulqdq" "popcnt" "rdrand" "rdseed" "sha" "sha512" "sm3" "sm4" "sse" "sse2" "sse3"
        "sse4.1" "sse4.2" "sse4a" "ssse3" "tbm" "vaes" "vpclmulqdq" "widekl" "xsave" "xsavec"
        "xsaveopt" "xsaves"
    ]
    "aarch64" by is_aarch64_feature_detected: [
        "aes" "bf16" "crc" "dotprod" "dpb" "dpb2" "f32mm" "f64mm" "fcma" "fhm" "flagm" "fp16"
        "frintts" "i8mm" "jsconv" "lse" "neon" "rand" "rcpc" "rcpc2" "rdm" "sb" "sha2" "sha3"
        "sm4" "sve" "sve2" "sve2-aes" "sve2-bitperm" "sve2-sha3" "sve2-sm4"
    ]
}

impl CpuFeatures {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn of<const N: usize>(has: [bool; N]) -> CpuFeatures {
        let bits = (0..).zip(has).map(|(bit, has)| u64::from(has) << bit);
        CpuFeatures(bits.sum())
    }

    #[cfg(test)]
    pub(super) fn named(arch: &str, wanted: &[&str]) -> CpuFeatures {
        let bit = |name: &&str| named(arch).iter().position(|it| it == name);
        let bits = wanted
            .iter()
            .map(|name| 1 << bit(name).expect("it is known"));
        CpuFeatures(bits.sum())
    }

    /// Those that others lack.
    pub(super) fn without(self, others: CpuFeatures) -> CpuFeatures {
        CpuFeatures(self.0 & !others.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of this architecture with that name.
    pub(super) fn has(self, arch: &str, name: &str) -> bool {
        self.names(arch).any(|it| it == name)
    }

    /// The names of those of this architecture that are known here.
    pub(super) fn names(self, arch: &str) -> impl Iterator<Item = &'static str> {
        let names = named(arch).iter().enumerate();
        let names = names.filter(move |(bit, _)| self.0 >> bit & 1 == 1);
        names.map(|(_, name)| *name)
    }
}
