// Gives memory back to the system that was needed once. The C library keeps what was freed, and of the program every page stays
// mapped that was ever touched: Node's binary has 110 MiB of code and constants, of which starting touches half, running a tenth.
#define _GNU_SOURCE
#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"

// Unmaps what is read only of the program itself. Nothing is lost: a page that is used again is mapped again from the page cache.
static int unmap_text(struct dl_phdr_info *program, size_t size, void *page) {
  (void)size;
  uintptr_t mask = ~(*(uintptr_t *)page - 1);
  for (int i = 0; i < program->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &program->dlpi_phdr[i];
    // Whole pages only: those at the ends may hold something else too.
    uintptr_t start = (program->dlpi_addr + segment->p_vaddr + ~mask) & mask;
    uintptr_t end = (program->dlpi_addr + segment->p_vaddr + segment->p_filesz) & mask;
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0 || start >= end) continue;
    madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 1;  // the first is the program, the others are libraries
}

void memory_release(void) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  dl_iterate_phdr(unmap_text, &page);
}
