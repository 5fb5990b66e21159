/** Identifiers in one query. */
const maxIdsPerQuery = 500;

/** Identifiers for `where … in`, as many at a time as one query takes. */
export function* idGroups(ids: readonly string[]): Generator<readonly string[]> {
  for (let from = 0; from < ids.length; from += maxIdsPerQuery)
    yield ids.slice(from, from + maxIdsPerQuery);
}
