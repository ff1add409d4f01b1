// SPDX-License-Identifier: MIT
/// Copies that the hardware does by itself, and the barriers in shared memory that tell when they are done (sm_90).
///
/// | what                                   | is                                                                             |
/// |----------------------------------------|--------------------------------------------------------------------------------|
/// | barrier                                | counts arrivals and bytes of a phase; waits are for the parity of a phase       |
/// | copy_tensor                            | a box of a tensor map: strided, exchanged, with zeros beyond the tensor's ends   |
/// | cluster_rank, of_block, store_remote   | blocks of threads that run together and reach each other's shared memory         |
/// | give_registers, take_registers         | other shares of the registers for warpgroups with other work (sm_90a)            |
///
/// A ring of stages is two barriers a slot: `full`, on which the copying thread says how many bytes come and on which the bytes
/// count; and `empty`, on which readers arrive. Phase number f of a slot has parity f % 2; a barrier that nobody has used
/// passes a wait for parity 1.
///
/// All barrier operations are of the default form, release and acquire in the block: with .cluster in their place every stage of a
/// product took three times as long.
///
/// Source: PTX ISA, "mbarrier", "cp.async.bulk.tensor", "setmaxnreg", "barrier.cluster".
#pragma once

#include <tern/cuda/device/intrinsics.hpp>

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define TERN_HAS_PIPELINE 1
#endif

namespace tern::inline v0_1::cuda::device {

#if defined(TERN_HAS_PIPELINE)

/// The address that shared-memory instructions take.
__device__ inline std::uint32_t shared_address(const void* at) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(at));
}

/// The same, in a register: the compiler does not compute it anew at every use.
__device__ inline std::uint32_t kept(std::uint32_t address) {
  asm volatile("" : "+r"(address));
  return address;
}
__device__ inline uint2 load_shared(std::uint32_t address) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address));
  return v;
}

/// The same place in the shared memory of another block of the cluster: an address for store_remote.
__device__ inline std::uint32_t of_block(const void* at, unsigned rank) {
  std::uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(at)), "r"(rank));
  return address;
}

/// Lives in shared memory.
class barrier {
 public:
  /// By one thread; then publish_barriers() by it, and a barrier of all threads, before anybody uses it.
  __device__ void init(unsigned arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" : : "r"(shared_address(&state_)), "r"(arrivals) : "memory");
  }
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(shared_address(&state_)) : "memory");
  }
  /// Arrives, and lets the phase wait for so many bytes of copies as well.
  __device__ void arrive_and_expect(unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :
                 : "r"(shared_address(&state_)), "r"(bytes)
                 : "memory");
  }
  /// Returns when the phase of this parity is complete.
  __device__ void wait(unsigned parity) const { wait(address(), parity); }
  __device__ static void arrive(std::uint32_t at) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(at) : "memory");
  }
  __device__ static void wait(std::uint32_t at, unsigned parity) {
    asm volatile(
        "{.reg .pred done;\n"
        "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;}"
        :
        : "r"(at), "r"(parity)
        : "memory");
  }
  __device__ std::uint32_t address() const { return shared_address(&state_); }

 private:
  std::uint64_t state_;
};

/// What this thread initialised can be used by other threads, copies and blocks of the cluster after the next barrier.
__device__ inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

/// @param map  a CUtensorMap: a kernel's __grid_constant__ parameter
__device__ inline void prefetch_map(const void* map) {
  asm volatile("prefetch.tensormap [%0];" : : "l"(map) : "memory");
}

/// The box at element (x, y) or (x, y, z), innermost first. All bytes of the box count, those beyond the tensor too.
__device__ inline void copy_tensor(void* shared, const void* map, unsigned x, unsigned y, barrier& done) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
      :
      : "r"(shared_address(shared)), "l"(map), "r"(x), "r"(y), "r"(done.address())
      : "memory");
}
__device__ inline void copy_tensor(void* shared, const void* map, unsigned x, unsigned y, unsigned z, barrier& done) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];"
      :
      : "r"(shared_address(shared)), "l"(map), "r"(x), "r"(y), "r"(z), "r"(done.address())
      : "memory");
}

__device__ inline unsigned cluster_rank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ inline unsigned cluster_blocks() {
  unsigned blocks;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  return blocks;
}
/// All threads of all blocks of the cluster: here to wait until all blocks run and have published their barriers, before anybody
/// stores to another. The first half orders no memory: there is none to order.
__device__ inline void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ inline void cluster_wait() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }

/// Four words to another block's shared memory, at an address of of_block(); the barrier at `done`, in that block too, counts their
/// 16 bytes. The thread goes on, and may end.
__device__ inline void store_remote(std::uint32_t address, const std::int32_t (&v)[4], std::uint32_t done) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];"
               :
               : "r"(address), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(done)
               : "memory");
}

/// Registers a thread has from now on: for all four warps of a warpgroup, in a kernel whose launch bounds name one block. N is a
/// multiple of 8; what some give others may take.
template <unsigned N>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" : : "n"(N));
}
template <unsigned N>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" : : "n"(N));
}

#endif

}  // namespace tern::inline v0_1::cuda::device
