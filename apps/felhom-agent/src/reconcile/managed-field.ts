import type { FieldName, FieldValue, FieldWrite, GuestKind, Options } from './model.ts';

/**
 * One row of the table of managed fields. Everything that reconcile knows of a field stands in its row:
 * how it is read from a configuration, what is the same and what is not, how it is written, when that
 * takes effect, and the words of its documentation (docs/managed-fields.md is made from them).
 */
export interface ManagedField {
  name: FieldName;
  /** The option in PVE's configuration; null where guests of that kind have none. */
  option: Readonly<Record<GuestKind, string | null>>;
  /**
   * The canonical form of an option's text as PVE gives it, or as it was declared: two texts that PVE
   * takes for the same give the same. null in: the option is not there. null out: nothing is set.
   */
  canonical(kind: GuestKind, raw: string | null): FieldValue;
  /** What makes PVE have `value`. */
  write(kind: GuestKind, option: string, value: FieldValue): FieldWrite;
  /** Why a guest of this kind cannot have `value`; null where it can. What the schema of a guest file refuses for both kinds is not repeated. */
  refuses(kind: GuestKind, value: FieldValue): string | null;
  /** When a write takes effect on a running guest. */
  effect(kind: GuestKind, live: Options): 'live' | 'restart';
  /** A value in words for a person. */
  show(value: FieldValue): string;
  doc: FieldDoc;
}

export interface FieldDoc {
  /** What is written in a guest's file. */
  takes: string;
  /** What a missing option means. */
  absent: string;
  /** What PVE changes in a round trip and is no drift. */
  same: string;
  effect: Readonly<Record<GuestKind, string>>;
  /** The privilege that a write takes (pve-container PVE/LXC.pm check_ct_modify_config_perm, qemu-server API2/Qemu.pm). */
  right: string;
}
