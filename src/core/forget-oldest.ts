/** Leaves no more than `most` entries in a map or set that is in order of age: the oldest go first. */
export function forgetOldest<K>(collection: Map<K, unknown> | Set<K>, most: number): void {
  while (collection.size > most) {
    const oldest = collection.keys().next();
    if (oldest.done !== true) collection.delete(oldest.value);
  }
}
