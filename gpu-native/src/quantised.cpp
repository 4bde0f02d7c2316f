#include "quantised.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "cpu/number.h"
#include "error.h"

namespace steerlab {
namespace {

constexpr int kSmall = 32, kLarge = 256;  // values per block of the older and of the K formats

float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return half_to_float(bits);
}

// Low nibbles of 16 bytes are values 0..15, high nibbles values 16..31.
int nibble(const uint8_t* q, int i) { return i < 16 ? q[i] & 15 : q[i - 16] >> 4; }

void q4_0(const uint8_t* b, float* out) {  // f16 d, 16 bytes
  const float d = half_at(b);
  for (int i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(b + 2, i) - 8);
}

void q4_1(const uint8_t* b, float* out) {  // f16 d, f16 m, 16 bytes
  const float d = half_at(b), m = half_at(b + 2);
  for (int i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(b + 4, i)) + m;
}

uint32_t word_at(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, 4);
  return word;
}

void q5_0(const uint8_t* b, float* out) {  // f16 d, fifth bits of all values, 16 bytes
  const float d = half_at(b);
  const uint32_t high = word_at(b + 2);
  for (int i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>((nibble(b + 6, i) | static_cast<int>(high >> i & 1) << 4) - 16);
}

void q5_1(const uint8_t* b, float* out) {  // f16 d, f16 m, fifth bits, 16 bytes
  const float d = half_at(b), m = half_at(b + 2);
  const uint32_t high = word_at(b + 4);
  for (int i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(b + 8, i) | static_cast<int>(high >> i & 1) << 4) + m;
}

void q8_0(const uint8_t* b, float* out) {  // f16 d, 32 signed bytes
  const float d = half_at(b);
  for (int i = 0; i < kSmall; ++i) out[i] = static_cast<float>(static_cast<int8_t>(b[2 + i])) * d;
}

// 64 bytes hold 256 two-bit values: each run of 32 bytes gives 32 values at bits 0, then 32 at bits 2, 4 and 6.
int two_bits(const uint8_t* q, int i) { return q[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3; }

void q2_k(const uint8_t* b, float* out) {  // 16 x (scale, min) nibbles, 64 bytes, f16 d, f16 dmin
  const uint8_t* q = b + 16;
  const float d = half_at(b + 80), dmin = half_at(b + 82);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(b[group] & 15), min = dmin * static_cast<float>(b[group] >> 4);
    for (int i = group * 16; i < group * 16 + 16; ++i) out[i] = scale * static_cast<float>(two_bits(q, i)) - min;
  }
}

void q3_k(const uint8_t* b, float* out) {  // 32 bytes of third bits, 64 bytes, 12 bytes of 6-bit scales, f16 d
  const uint8_t *q = b + 32, *s = b + 96;
  const float d = half_at(b + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? s[group] & 15 : s[group - 8] >> 4, high = s[8 + group % 4] >> (group / 4 * 2) & 3;
    const float scale = d * static_cast<float>((low | high << 4) - 32);
    // the third bit is stored inverted: set means nothing is taken off
    for (int i = group * 16; i < group * 16 + 16; ++i) out[i] = scale * static_cast<float>(two_bits(q, i) - ((b[i % 32] >> (i / 32) & 1) ? 0 : 4));
  }
}

// Eight 6-bit scales and eight 6-bit minima in 12 bytes: the upper two bits of the later four stand above the earlier four.
void six_bit_pairs(const uint8_t* s, int group, int* scale, int* min) {
  if (group < 4) {
    *scale = s[group] & 63;
    *min = s[group + 4] & 63;
    return;
  }
  *scale = (s[group + 4] & 15) | (s[group - 4] >> 2 & 0x30);
  *min = s[group + 4] >> 4 | (s[group] >> 2 & 0x30);
}

// Q4_K and Q5_K: f16 d, f16 dmin, 12 bytes of scales, for Q5_K 32 bytes of fifth bits, 128 bytes of nibbles.
template <bool kFifth>
void q45_k(const uint8_t* b, float* out) {
  const float d = half_at(b), dmin = half_at(b + 2);
  const uint8_t *high = b + 16, *q = b + (kFifth ? 48 : 16);
  for (int group = 0; group < 8; ++group) {
    int s = 0, m = 0;
    six_bit_pairs(b + 4, group, &s, &m);
    const float scale = d * static_cast<float>(s), min = dmin * static_cast<float>(m);
    for (int i = 0; i < 32; ++i) {
      int value = q[group / 2 * 32 + i] >> (group % 2 * 4) & 15;
      if (kFifth) value |= (high[i] >> group & 1) << 4;
      out[group * 32 + i] = scale * static_cast<float>(value) - min;
    }
  }
}

void q6_k(const uint8_t* b, float* out) {  // 128 bytes of nibbles, 64 of upper bits, 16 signed scales, f16 d
  const uint8_t* high = b + 128;
  const float d = half_at(b + 208);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(static_cast<int8_t>(b[192 + group]));
    for (int i = group * 16; i < group * 16 + 16; ++i) {
      const int low = b[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15;
      out[i] = scale * static_cast<float>((low | two_bits(high, i) << 4) - 32);
    }
  }
}

constexpr std::array<BlockFormat, 10> kFormats = {{{"q4_0", kSmall, 18, q4_0},
                                                   {"q4_1", kSmall, 20, q4_1},
                                                   {"q5_0", kSmall, 22, q5_0},
                                                   {"q5_1", kSmall, 24, q5_1},
                                                   {"q8_0", kSmall, 34, q8_0},
                                                   {"q2_k", kLarge, 84, q2_k},
                                                   {"q3_k", kLarge, 110, q3_k},
                                                   {"q4_k", kLarge, 144, q45_k<false>},
                                                   {"q5_k", kLarge, 176, q45_k<true>},
                                                   {"q6_k", kLarge, 210, q6_k}}};

void decode_range(const BlockFormat& f, const uint8_t* blocks, int64_t begin, int64_t end, DType to, void* out) {
  float values[kLarge];
  for (int64_t i = begin; i < end; ++i) {
    const uint8_t* block = blocks + i * f.bytes;
    if (to == DType::F32) {
      f.decode(block, static_cast<float*>(out) + i * f.values);
      continue;
    }
    f.decode(block, values);
    Bf16* row = static_cast<Bf16*>(out) + i * f.values;
    for (int v = 0; v < f.values; ++v) row[v] = to_bf16(values[v]);
  }
}

constexpr int64_t kBlocksPerThread = 1 << 14;  // below, starting a thread costs more than it saves

}  // namespace

const BlockFormat* find_block_format(const std::string& name) {
  for (const BlockFormat& format : kFormats)
    if (name == format.name) return &format;
  return nullptr;
}

void decode_blocks(const BlockFormat& format, const void* blocks, int64_t count, DType to, void* out) {
  if (to != DType::F32 && to != DType::BF16) throw Error("internal", "Expected F32 or BF16 to decode into.");
  const auto* bytes = static_cast<const uint8_t*>(blocks);
  const int64_t total = count / format.values;
  const int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  const int64_t workers = std::clamp<int64_t>(total / kBlocksPerThread, 1, cores);
  std::vector<std::thread> threads;
  for (int64_t w = 1; w < workers; ++w)
    threads.emplace_back(decode_range, std::cref(format), bytes, total * w / workers, total * (w + 1) / workers, to, out);
  decode_range(format, bytes, 0, total / workers, to, out);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace steerlab
