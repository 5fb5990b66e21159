/**
 * Queries that are built once. Kysely builds and compiles a query each time that it is run, which for a small one costs more than
 * SQLite takes to answer it; here this is done at the first time, and later only the values are put in their places.
 */
import type { Compilable, CompiledQuery, QueryResult } from 'kysely';
import { assert } from '#core/errors.ts';
import type { Db } from './schema.ts';

export type Value = string | number | Uint8Array | null;

/** What stands for a value while the query is built. */
class Place {
  readonly index: number;

  constructor(index: number) {
    this.index = index;
  }
}

/**
 * The rows of a query, by values for its places.
 * @param build the query; must put its values where values go, and not look at them.
 */
export function prepared<Values extends readonly Value[], Row>(
  build: (db: Db, ...values: Values) => Compilable<Row>,
): (db: Db, ...values: Values) => Promise<Row[]> {
  /** The text differs from database to database, but not from transaction to transaction. */
  const compiled = new WeakMap<object, CompiledQuery<Row>>();
  return async (db, ...values) => {
    const { adapter } = db.getExecutor();
    let query = compiled.get(adapter);
    if (query === undefined) {
      query = compile(db, values.length, build);
      compiled.set(adapter, query);
    }
    const parameters = query.parameters.map((parameter) =>
      parameter instanceof Place ? values[parameter.index] : parameter,
    );
    const result: QueryResult<Row> = await db.executeQuery({ ...query, parameters });
    return result.rows;
  };
}

function compile<Values extends readonly Value[], Row>(
  db: Db,
  count: number,
  build: (db: Db, ...values: Values) => Compilable<Row>,
): CompiledQuery<Row> {
  const places = Array.from({ length: count }, (_, index) => new Place(index));
  const query = build(db, ...(places as unknown as Values)).compile();
  const used = new Set(query.parameters.filter((parameter) => parameter instanceof Place));
  assert(used.size === count, 'every value of a prepared query has its place');
  return query;
}
