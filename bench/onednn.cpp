// SPDX-License-Identifier: MIT
/// oneDNN 2.6: its matmul primitive, weights in any format, scratchpad by the caller.
#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "peers.hpp"

namespace bench {

bool onednn_product::limit_to(std::string_view isa) {
  struct {
    std::string_view name;
    dnnl::cpu_isa limit;
  } static constexpr known[] = {{"amx", dnnl::cpu_isa::avx512_core_amx},
                                {"avx512vnni", dnnl::cpu_isa::avx512_core_vnni},
                                {"avxvnni", dnnl::cpu_isa::avx2_vnni},
                                {"avx2", dnnl::cpu_isa::avx2}};
  for (const auto& [name, limit] : known)
    if (name == isa)
      return dnnl::set_max_cpu_isa(limit) == dnnl::status::success && dnnl::get_effective_cpu_isa() == limit;
  return false;
}

struct onednn_product::state {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
  std::vector<std::unordered_map<int, dnnl::memory>> calls;  // one for each copy of the weights
  std::string kernel;
  int threads = 1;
  std::size_t next = 0;
};

onednn_product::onednn_product(std::size_t m, std::size_t n, std::size_t k, const std::int8_t* x, const std::int8_t* w,
                               bool scaled, std::size_t copies, int threads)
    : state_(std::make_unique<state>()) {
  using dnnl::memory;
  using type = memory::data_type;
  using tag = memory::format_tag;
  state& s = *state_;
  s.threads = threads;
  omp_set_num_threads(threads);  // asked when the primitive is made
  const auto rows = static_cast<memory::dim>(m), outputs = static_cast<memory::dim>(n),
             inputs = static_cast<memory::dim>(k);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (scaled) attributes.set_output_scales(1 << 1, std::vector<float>(n, 1.0f));
  s.description = {
      {memory::desc({rows, inputs}, type::s8, tag::ab), memory::desc({inputs, outputs}, type::s8, tag::any),
       memory::desc({rows, outputs}, scaled ? type::f32 : type::s32, tag::ab)},
      attributes,
      s.engine};
  s.primitive = dnnl::matmul(s.description);
  s.kernel = s.description.impl_info_str();

  const memory given({{inputs, outputs}, type::s8, tag::ba}, s.engine, const_cast<std::int8_t*>(w));
  const memory tokens(s.description.src_desc(), s.engine), y(s.description.dst_desc(), s.engine),
      scratchpad(s.description.scratchpad_desc(), s.engine);
  std::copy(x, x + m * k, static_cast<std::int8_t*>(tokens.get_data_handle()));
  for (std::size_t copy = 0; copy < copies; ++copy) {
    const memory packed(s.description.weights_desc(), s.engine);
    dnnl::reorder(given, packed).execute(s.stream, const_cast<memory&>(given), const_cast<memory&>(packed));
    s.calls.push_back(
        {{DNNL_ARG_SRC, tokens}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, y}, {DNNL_ARG_SCRATCHPAD, scratchpad}});
  }
  s.stream.wait();
}

onednn_product::~onednn_product() = default;
onednn_product::onednn_product(onednn_product&&) noexcept = default;

void onednn_product::operator()() {
  state& s = *state_;
  omp_set_num_threads(s.threads);
  s.primitive.execute(s.stream, s.calls[s.next]);
  s.stream.wait();
  s.next = s.next + 1 < s.calls.size() ? s.next + 1 : 0;
}

const float* onednn_product::output() const {
  return static_cast<const float*>(state_->calls.front().at(DNNL_ARG_DST).get_data_handle());
}
std::size_t onednn_product::weight_bytes() const { return state_->description.weights_desc().get_size(); }
std::string_view onednn_product::kernel() const { return state_->kernel; }

}  // namespace bench
