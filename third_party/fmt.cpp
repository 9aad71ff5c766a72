// SPDX-License-Identifier: Apache-2.0
// fmt's implementation, compiled once. Debian ships fmt's headers and a shared library, no static
// one; header-only use everywhere costs each source file 4 s (19 s under the sanitizers).
// The same as fmt's own src/format.cc for what <fmt/core.h> and <fmt/format.h> call.
#ifdef FMT_HEADER_ONLY
#error "this file is for builds without FMT_HEADER_ONLY"
#endif
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {

template FMT_API auto dragonbox::to_decimal(float x) noexcept -> dragonbox::decimal_fp<float>;
template FMT_API auto dragonbox::to_decimal(double x) noexcept -> dragonbox::decimal_fp<double>;
template FMT_API auto thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template FMT_API auto decimal_point_impl(locale_ref) -> char;
template FMT_API void buffer<char>::append(const char*, const char*);
template FMT_API void vformat_to(buffer<char>&, string_view,
                                 basic_format_args<FMT_BUFFER_CONTEXT(char)>, locale_ref);

}  // namespace detail
FMT_END_NAMESPACE
