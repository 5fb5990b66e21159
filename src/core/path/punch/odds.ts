/** The arithmetic of guessing ports: pure functions (design §6; field notes: the table of sockets and probes). */

/**
 * The chance that at least one of `probes` different ports, chosen at random among `ports`, is one of `sockets` mapped
 * ones: 1 − Π (1 − sockets / (ports − i)).
 */
export function hitChance(sockets: number, ports: number, probes: number): number {
  if (sockets <= 0 || probes <= 0) return 0;
  let miss = 1;
  for (let i = 0; i < probes && miss > 0; i++) {
    miss *= Math.max(0, 1 - sockets / Math.max(sockets, ports - i));
  }
  return 1 - miss;
}

/** The fewest probes whose `hitChance` is at least `chance`. */
export function probesFor(chance: number, sockets: number, ports: number): number {
  let miss = 1;
  let probes = 0;
  while (1 - miss < chance && probes < ports) {
    miss *= Math.max(0, 1 - sockets / Math.max(sockets, ports - probes));
    probes += 1;
  }
  return probes;
}

/** The least n so that a Poisson variable of this mean is at most n with probability `chance`. */
export function poissonQuantile(mean: number, chance: number): number {
  let term = Math.exp(-mean);
  let sum = term;
  let n = 0;
  while (sum < chance && n < 10_000) {
    n += 1;
    term *= mean / n;
    sum += term;
  }
  return n;
}
