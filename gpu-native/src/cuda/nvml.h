// Free device memory without a CUDA context: asked of the driver's management library, which a probe can afford.
//
// Opened at run time with three prototypes written out here (NVML API reference). Host code without CUDA.
#pragma once
#include <cstdint>

namespace steerlab {

constexpr uint64_t kUnknownBytes = ~uint64_t(0);

// Of the device at this PCI place; kUnknownBytes where the library or its answer is missing (MIG, containers).
uint64_t free_device_memory(int pci_domain, int pci_bus, int pci_device);

}  // namespace steerlab
