// Runs a fuzz target on the files named, without libFuzzer: for tests, where there may be no clang.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int count, char **names) {
  for (int i = 1; i < count; i++) {
    FILE *file = fopen(names[i], "rb");
    long size = -1;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
    if (size < 0) {
      perror(names[i]);
      return 2;
    }
    rewind(file);
    // Exactly as long as the input, so that reading beyond it is seen.
    uint8_t *data = malloc((size_t)size);
    if (fread(data, 1, (size_t)size, file) != (size_t)size) return 2;
    fclose(file);
    fprintf(stderr, "%s\n", names[i]);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
  }
  printf("%d inputs\n", count - 1);
  return 0;
}
