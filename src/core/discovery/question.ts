/** What a STUN transaction of discovery is about, and of which run: answers of an earlier one count no more. */
export interface FamilyQuestion {
  readonly part: 'family';
  readonly family: 4 | 6;
  readonly run: number;
  readonly kind:
    | 'first'
    | 'filter-port'
    | 'filter-address'
    | 'other-port'
    | 'other-address'
    | 'refresh';
}

export interface MappingQuestion {
  readonly part: 'mapping';
  readonly run: number;
  /** The test socket's own mapping, or the number of a sample. */
  readonly sample: number | 'test';
}

export interface LifetimeQuestion {
  readonly part: 'lifetime';
  readonly run: number;
  readonly kind: 'open' | 'use' | 'check';
}

export type Question = FamilyQuestion | MappingQuestion | LifetimeQuestion;
