// The vector engine: PlainBackend with every op replaced by threads over the kernels of one instruction set (kernels.h).
//
// F32 and BF16 only; fast.cpp instantiates.
#pragma once
#include "kernels.h"
#include "plain.h"

namespace steerlab {

template <class A>
class FastBackend : public PlainBackend<A> {
 public:
  using E = typename A::Store;
  FastBackend(int threads, const Kernels& kernels);

  // fast_rows.h, fast_linear.h, fast_linear_backward.h, fast_attention.h, fast_loss.h
  STEERLAB_OPS(STEERLAB_OVERRIDE)

 private:
  // GrowingBuffer of one worker; a name per use, so that nothing in one task shares memory.
  struct Worker {
    GrowingBuffer panel, c, thin_panel, thin_c, rows, dropped, bits, temp, scores, grads;
  };
  // One LoraUse of a linear() call.
  struct PartUse {
    const LoraUse* use;
    uint32_t site;
  };
  // Left operand of a product: words from a row (on matrix registers: from a tile) to the next.
  struct Left {
    const uint32_t* at;
    int64_t ld;
  };

  static const E* acts(const void* p) { return static_cast<const E*>(p); }
  static E* acts(void* p) { return static_cast<E*>(p); }
  Pool& pool() { return CpuBackend::pool(); }
  void ran(const char* op);  // counts "op" and "op.<isa>"

  // ---- packing and multiplying in the form this processor is best at (fast_linear.h) ----
  // The form of one product: words of one element or of a bf16 pair. On matrix registers f32 rows meet bf16 weights as a sum of
  // three bf16 pieces, whose products are exact in f32: same accuracy, and faster than f32 multiply-adds.
  struct Form {
    bool pairs;
    int pieces;
    bool operator==(const Form& o) const { return pairs == o.pairs && pieces == o.pieces; }
  };
  Form own_form() const { return {pairs_, 1}; }  // rows as they are: what LoRA matrices multiply
  Form form_of(const Weight& w) const {
    return sizeof(E) == 4 && w.type == DType::BF16 && k_.gemm_group_pieces ? Form{true, 3} : own_form();
  }
  Form form_of(HostSpan<const LinearPart> parts) const {  // one for all, as they share the rows
    for (const LinearPart& part : parts)
      if (form_of(*part.w) == own_form()) return own_form();
    return form_of(*parts[0].w);
  }
  int units(Form f, int k) const {  // steps of a reduction of length k
    return f.pairs ? ((k + 1) / 2 + k_.pair_block - 1) / k_.pair_block * k_.pair_block : k;
  }
  bool matrix(Form f) const { return f.pairs && k_.pair_block > 1; }
  // Where vector v of a panel of `steps` steps begins, and the words from one step of it to the next.
  int64_t vector_at(Form f, int v, int steps) const { return static_cast<int64_t>(v) * k_.lanes * (matrix(f) ? steps : 1); }
  int step_words(Form f) const { return matrix(f) ? k_.lanes : k_.width; }
  int64_t piece_words(Form f, int k) const { return static_cast<int64_t>(units(f, k)) * k_.tile_rows; }
  // Of a left operand that is copied: words of a row, or of a tile.
  int64_t copied_words(Form f, int k) const { return matrix(f) ? f.pieces * piece_words(f, k) : units(f, k); }
  int64_t copied_words(Form f, int n, int k) const {
    return copied_words(f, k) * (matrix(f) ? (n + k_.tile_rows - 1) / k_.tile_rows : n);
  }
  const uint32_t* row_of(Form f, Left left, int row) const { return left.at + left.ld * (matrix(f) ? row / k_.tile_rows : row); }
  int group() const { return 2 * k_.width; }  // output columns of a task: two panels
  // Two panel blocks are 256 KiB, or 64 KiB where matrix registers need their lines sooner.
  int reduction_block(Form f) const { return matrix(f) ? 512 : f.pairs ? 2048 : 1024; }
  // Rows that can be multiplied as they lie; others are copied: tiles, bf16 widened, or an odd row padded to pairs.
  bool in_place(Form f, const E* x, int64_t ldx, int k) const {
    if (matrix(f)) return false;
    return sizeof(E) == 4 || (f.pairs && k % 2 == 0 && ldx % 2 == 0 && reinterpret_cast<uintptr_t>(x) % sizeof(uint32_t) == 0);
  }
  Left left_of(Form f, const E* x, int64_t ldx, int k, uint32_t* copy) const;
  void copy_rows(Form f, const E* x, int64_t ldx, int k, int from, int to, uint32_t* copy) const;  // from: first of a tile
  void pack_weight(Form f, uint32_t* panel, const Weight& w, int row, int rows, int from, int k) const;  // W^T: columns = rows of W
  void pack_weight_rows(Form f, uint32_t* panel, const Weight& w, int row, int k, int column, int columns) const;  // W
  // c (rows, group()) (+)= rows of length `in`, from step `first` on, times the panels of `columns` columns
  void multiply(Form f, float* c, Left left, int in, int first, const uint32_t* panels, int rows, int steps, int columns, bool accumulate,
                const Ahead& ahead = {}) const;
  // LoRA matrices stay f32: in pair form as the sum of two bf16 panels, 16 bits of mantissa.
  int thin_columns() const { return pairs_ ? k_.lanes : k_.width; }
  void pack_thin(Worker& w, uint32_t* panel, const float* a, int64_t lda, int rows, int k) const;
  void pack_thin_rows(Worker& w, uint32_t* panel, const float* b, int64_t ldb, int k, int columns) const;
  void add_thin(float* out, const float* c, float factor, int columns) const;  // one row of c

  void lora_down(Worker& w, const PartUse& lora, const E* x, Left left, int in, int first, int last, const DropoutKey* dropout);
  void drop_rows(Worker& w, uint32_t* dst, const E* x, Left left, int in, const DropoutStream& stream, const DropoutKey& key, int tile,
                 int from, int to) const;
  int row_blocks(int n, int64_t groups) const;
  int chunk() const { return 4 * k_.tile_rows; }  // rows whose sums stay in the nearest cache until they are stored
  template <class Finish>
  void project_group(Form f, Worker& w, const Weight& weight, int n0, int cols, Left left, int m0, int rows, const Finish& finish);
  void pack_adapters(Worker& w, HostSpan<const PartUse> uses, int n0, int cols, int m0, int rows) const;
  void finish_rows(Worker& w, const LinearPart& part, int n0, int cols, const float* c, int m0, int rows, E* y, int ldy,
                   HostSpan<const PartUse> uses) const;
  void attend(Worker& w, const Attention& op, int row, int kv_head, int q_from, int q_to);
  void attend_backward(Worker& w, const AttentionBackward& op, int row, int kv_head);

  struct Backward;  // one linear_backward call

  const Kernels& k_;
  const RowKernels<E>& e_;
  bool pairs_;
  std::vector<Worker> workers_;
  GrowingBuffer x_copy_, x_own_copy_, bits_, d_copy_;
  std::string isa_suffix_;
};

}  // namespace steerlab
