// The parts of src/cuda that need no device, kernel or emulation: pool, arena, GEMM search, buckets, index maps, orders.
//
// steerlab_cuda_host_test: one line per check, exit status 1 when any failed.
// steerlab_cuda_host_test candidates: prints what gemm_candidates finds for the process's environment, one "file|place" per line.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

using std::ceil;

#include "cuda/block_pool.h"
#include "cuda/fragments.h"
#include "cuda/gemm_source.h"
#include "cuda/logit_order.h"
#include "cuda/segments.h"
#include "cuda/weight_arena.h"

using namespace steerlab;

namespace {

int failures = 0;
void expect(const char* what, bool ok) {
  std::printf("%s %s\n", ok ? "ok  " : "FAIL", what);
  failures += !ok;
}

void pool() {
  size_t limit = size_t(200) << 20, held = 0;
  std::map<void*, size_t> segments;
  BlockPool pool(
      [&](size_t bytes) -> void* {
        if (held + bytes > limit) return nullptr;
        void* p = std::aligned_alloc(256, bytes);
        segments[p] = bytes;
        held += bytes;
        return p;
      },
      [&](void* p) {
        held -= segments[p];
        segments.erase(p);
        std::free(p);
      });
  void *a = pool.allocate(1000), *b = pool.allocate(5000), *c = pool.allocate(3000);
  expect("pool: small blocks share a segment", segments.size() == 1 && a && b && c);
  expect("pool: blocks are 256-byte aligned", reinterpret_cast<uintptr_t>(b) % 256 == 0 && reinterpret_cast<uintptr_t>(c) % 256 == 0);
  pool.release(b);
  expect("pool: the best hole is used again", pool.allocate(4096) == b);
  pool.release(a);
  pool.release(b);
  expect("pool: neighbours merge", pool.allocate(6000) == a);
  expect("pool: a strange pointer is refused", !pool.release(reinterpret_cast<char*>(c) + 16));
  pool.release(a);
  pool.release(c);
  expect("pool: releasing twice is refused", !pool.release(c));
  expect("pool: nothing is used", pool.used() == 0 && pool.peak_used() > 0);
  void* big = pool.allocate(size_t(150) << 20);
  expect("pool: large requests get their own segment", big && segments.size() == 2);
  expect("pool: over the limit gives null", pool.allocate(size_t(190) << 20) == nullptr);
  pool.release(big);
  limit = size_t(400) << 20;
  std::vector<void*> kept;
  for (int i = 0; i < 6; ++i) kept.push_back(pool.allocate(size_t(7) << 20));
  expect("pool: small blocks do not part a large hole", pool.allocate(size_t(150) << 20) == big);
  pool.release(big);
  kept.push_back(pool.allocate(size_t(100) << 20));  // leaves 50 MB of the hole
  limit = held;
  for (int i = 0; i < 6; ++i) kept.push_back(pool.allocate(size_t(7) << 20));
  expect("pool: unless there is no other room", kept.back() != nullptr && held <= limit);
  for (void* p : kept) pool.release(p);
  limit = size_t(200) << 20;
  void* other = pool.allocate(size_t(190) << 20);
  expect("pool: free segments are given back to make room", other != nullptr && held <= limit);
  // random traffic against a model of live blocks
  std::vector<std::pair<char*, size_t>> live;
  bool disjoint = true;
  pool.release(other);
  for (uint32_t i = 0; i < 3000; ++i) {
    const Philox4 w = philox(i, 0, 0, 0, 42);
    if (w.w[0] % 2 && !live.empty()) {
      const size_t at = w.w[1] % live.size();
      disjoint = disjoint && pool.release(live[at].first);
      live.erase(live.begin() + static_cast<long>(at));
    } else {
      const size_t size = w.w[2] % 200000 + 1;
      char* p = static_cast<char*>(pool.allocate(size));
      for (const auto& l : live) disjoint = disjoint && p && (p + size <= l.first || p >= l.first + l.second);
      live.push_back({p, size});
    }
  }
  for (const auto& l : live) pool.release(l.first);
  expect("pool: live blocks never overlap", disjoint);
  pool.trim();
  expect("pool: empty pools give everything back", pool.reserved() == 0 && held == 0 && pool.used() == 0);
}

class CountedMemory : public VirtualMemory {
 public:
  explicit CountedMemory(std::set<char*>& chunks, size_t most) : chunks_(chunks), most_(most) {}
  size_t granularity() const override { return size_t(2) << 20; }
  char* reserve(size_t) override { return reinterpret_cast<char*>(size_t(1) << 40); }
  bool commit(char* at, size_t) override { return chunks_.size() < most_ && chunks_.insert(at).second; }
  void decommit(char* at, size_t) override { chunks_.erase(at); }
  void unreserve(char*, size_t) override {}

 private:
  std::set<char*>& chunks_;
  size_t most_;
};

void arena() {
  std::set<char*> chunks;
  {
    WeightArena arena(std::make_unique<CountedMemory>(chunks, 5), std::vector<size_t>{size_t(1) << 30});
    const size_t m = size_t(50) << 20;
    char *a = static_cast<char*>(arena.allocate(m)), *b = static_cast<char*>(arena.allocate(m)), *c = static_cast<char*>(arena.allocate(m));
    expect("arena: matrices lie end to end", b == a + m && c == b + m);
    expect("arena: chunks cover them, no more", chunks.size() == 3);
    expect("arena: out of memory gives null", arena.allocate(size_t(300) << 20) == nullptr);
    expect("arena: a refused matrix leaves no chunk behind", chunks.size() == 3 && arena.committed() == size_t(192) << 20);
    expect("arena: foreign pointers are refused", !arena.release(a + 256) && !arena.release(nullptr));
    arena.release(b);
    expect("arena: a chunk shared with a live matrix stays", chunks.size() >= 2);
    arena.release(a);
    arena.release(c);
    expect("arena: only the chunk in progress stays", chunks.size() <= 3);
    char* d = static_cast<char*>(arena.allocate(100));
    expect("arena: addresses are not used twice", d && d >= c + m);
    char* e = static_cast<char*>(arena.allocate(100));
    expect("arena: allocations are 256-byte aligned", e == d + 256);
  }
  expect("arena: everything is given back at the end", chunks.empty());
  WeightArena none(nullptr, std::vector<size_t>{size_t(1) << 30});
  expect("arena: without virtual memory it declines", !none.usable() && none.allocate(10) == nullptr);
  class Stingy : public CountedMemory {
   public:
    Stingy(std::set<char*>& chunks, size_t most) : CountedMemory(chunks, 0), most_(most) {}
    char* reserve(size_t bytes) override { return bytes > most_ ? nullptr : CountedMemory::reserve(bytes); }

   private:
    size_t most_;
  };
  const size_t card = size_t(80) << 30;
  const auto reserved = [&](size_t most) {
    WeightArena arena(std::make_unique<Stingy>(chunks, most), arena_sizes(card));
    return std::make_pair(arena.reserved(), arena.attempts());
  };
  expect("arena: 16 cards of address space, else 4, else one and a quarter",
         reserved(16 * card) == std::make_pair(16 * card, 1) && reserved(15 * card) == std::make_pair(4 * card, 2) &&
             reserved(2 * card) == std::make_pair(card + card / 4, 3));
  expect("arena: refused all of them it says so", reserved(card) == std::make_pair(size_t(0), 3));
}

void fragments() {
  const auto covers = [](int rows, int cols, int per_lane, TileIndex (*map)(int, int)) {
    std::set<std::pair<int, int>> seen;
    for (int lane = 0; lane < 32; ++lane)
      for (int e = 0; e < per_lane; ++e) {
        const TileIndex at = map(lane, e);
        if (at.row < 0 || at.row >= rows || at.col < 0 || at.col >= cols) return false;
        seen.insert({at.row, at.col});
      }
    return seen.size() == static_cast<size_t>(rows * cols);
  };
  expect("fragments: A is held exactly once", covers(16, 16, 8, mma_a_index));
  expect("fragments: B is held exactly once", covers(16, 8, 4, mma_b_index));
  expect("fragments: C is held exactly once", covers(16, 8, 4, mma_c_index));
  // what ldmatrix.x4 puts into a lane's register `reg` when lanes give the row addresses of `rows`
  const auto loaded = [](int lane, int reg, int e, TileIndex (*rows)(int), bool transposed) {
    TileIndex in = ldmatrix_index(lane, e);
    if (transposed) std::swap(in.row, in.col);
    const TileIndex start = rows(reg * 8 + in.row);
    return TileIndex{start.row, start.col + in.col};
  };
  bool a = true, b = true, bt = true;
  for (int lane = 0; lane < 32; ++lane)
    for (int reg = 0; reg < 4; ++reg)
      for (int e = 0; e < 2; ++e) {
        const TileIndex la = loaded(lane, reg, e, ldmatrix_a_row, false), wa = mma_a_index(lane, 2 * reg + e);
        a = a && la.row == wa.row && la.col == wa.col;
        const TileIndex wb = mma_b_index(lane, 2 * (reg % 2) + e);  // [k, n] of B tile reg / 2
        const TileIndex lb = loaded(lane, reg, e, ldmatrix_b_row, false), lt = loaded(lane, reg, e, ldmatrix_b_row_transposed, true);
        b = b && lb.col == wb.row && lb.row == wb.col + 8 * (reg / 2);
        bt = bt && lt.row == wb.row && lt.col == wb.col + 8 * (reg / 2);
      }
  expect("fragments: ldmatrix makes an A fragment", a);
  expect("fragments: ldmatrix makes two B fragments from [n][k]", b);
  expect("fragments: ldmatrix.trans makes two B fragments from [k][n]", bt);
}

void segments() {
  const KvSegment list[] = {{nullptr, nullptr, 3, 0}, {nullptr, nullptr, 0, 0}, {nullptr, nullptr, 4, 0}, {nullptr, nullptr, 1, 0}};
  bool right = true;
  const int want[8][2] = {{0, 0}, {0, 1}, {0, 2}, {2, 0}, {2, 1}, {2, 2}, {2, 3}, {3, 0}};
  for (int k = 0; k < 8; ++k) right = right && locate_key(list, k).segment == want[k][0] && locate_key(list, k).offset == want[k][1];
  expect("segments: keys are found across (and past empty) segments", right);
  const AttentionRow row{0, 3, 0, 0, 4, 8};  // queries at positions 5, 6, 7; own segment of 4: positions 4..7
  bool agree = true;
  for (int own = 0; own < 4; ++own)
    for (int query = 0; query < 3; ++query) agree = agree && (visible_keys(row, query) > 4 + own) == (query >= first_query_of(row, 4, own));
  expect("segments: both walks agree on who sees whom", agree && visible_keys(row, 2) == 8);
}

void grid_rows() {
  int next = 0;
  bool fits = true;
  for_grid_rows(150000, [&](int first, int count) {
    fits = fits && first == next && count > 0 && count <= 65535;
    next = first + count;
  });
  expect("grid: more rows than a grid is tall go in several launches", fits && next == 150000);
}

void orders() {
  const float logits[] = {-INFINITY, -3.5f, -1e-30f, -0.0f, 0.0f, 1e-30f, 2.0f, 2.0f, INFINITY};
  bool sorted = true;
  for (int i = 0; i < 9; ++i)
    for (int j = 0; j < 9; ++j) {
      const bool before = logits[i] != logits[j] ? logits[i] > logits[j] : i < j;
      sorted = sorted && (i == j || (order_key(logits[i], i) > order_key(logits[j], j)) == before);
      sorted = sorted && order_id(order_key(logits[i], i)) == i;
    }
  expect("order: keys sort by falling logit, then rising id", sorted);
  expect("order: weights are 2^32 at the top", sampling_weight(1.5f, 1.5f, 0.7f) == uint64_t(1) << 32);
  expect("order: top_p 1 keeps all that weighs anything", nucleus_target(1000, 1.0f) == 999);
  expect("order: a tiny top_p keeps one token", nucleus_target(1000, 1e-9f) == 0);
}

void buckets() {
  bool good = true;
  for (int rows = 1; rows < 20000; ++rows) {
    const int b = gemm_bucket(rows);
    good = good && b >= rows && gemm_bucket(b) == b && gemm_bucket(rows + 1) >= b && (rows < 64 || b <= 2 * rows);
  }
  expect("buckets: hold their rows, are their own ceiling, and grow", good);
  expect("buckets: decoding one or sixteen rows is one bucket", gemm_bucket(1) == gemm_bucket(16));
  bool narrow = true;
  for (int rows = 1; rows <= 1024; ++rows) narrow = narrow && gemm_bucket(rows) - rows < 64;
  expect("buckets: up to 1,024 rows none is wider than 64", narrow && gemm_bucket(536) == 576 && gemm_bucket(200) == 256);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "candidates") == 0) {
    for (const GemmCandidate& c : gemm_candidates(process_environment)) std::printf("%s|%s\n", c.file.c_str(), c.place.c_str());
    return 0;
  }
  pool();
  arena();
  fragments();
  segments();
  grid_rows();
  orders();
  buckets();
  return failures ? 1 : 0;
}
