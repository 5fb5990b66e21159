import { createCipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { arch, platform } from 'node:process';

/**
 * Whether AES-256-GCM is the faster suite here, which takes instructions for both AES and carry-less multiplication;
 * in software AES is slow and leaks through caches. Linux says what the CPU has; elsewhere it is measured.
 */
export function isAesAccelerated(): boolean {
  if (platform === 'linux') {
    try {
      return cpuinfoHasAes(readFileSync('/proc/cpuinfo', 'utf8'));
    } catch {
      // No /proc here: measure.
    }
  }
  if (arch !== 'x64' && arch !== 'arm64') return false;
  return secondsPerMegabyte('aes-256-gcm') < secondsPerMegabyte('chacha20-poly1305');
}

/** Reads the text of /proc/cpuinfo: `flags` on x86, `Features` on ARM. Every core must have it. */
export function cpuinfoHasAes(cpuinfo: string): boolean {
  const lines = cpuinfo.split('\n').filter((line) => /^(flags|features)\s*:/i.test(line));
  const has = (line: string) => {
    const words = new Set(
      line
        .slice(line.indexOf(':') + 1)
        .trim()
        .split(/\s+/),
    );
    return words.has('aes') && (words.has('pclmulqdq') || words.has('pmull'));
  };
  return lines.length > 0 && lines.every(has);
}

function secondsPerMegabyte(cipherName: 'aes-256-gcm' | 'chacha20-poly1305'): number {
  const block = new Uint8Array(65_536);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const started = performance.now();
    const cipher = createCipheriv(cipherName as 'aes-256-gcm', block.subarray(0, 32), nonce);
    for (let i = 0; i < 16; i++) cipher.update(block);
    best = Math.min(best, performance.now() - started);
  }
  return best / 1000;
}

const nonce = new Uint8Array(12);
