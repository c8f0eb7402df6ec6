/**
 * What can be found in a log's folder that is not as it should be: a closed set, each with what it means and what to do about it.
 * Damage may have cost entries or hides them; a note is what an ordinary crash leaves, and the next open puts it right.
 */
export type FindingKind =
  | 'format' | 'start-offset' | 'entries' | 'segment-missing' | 'segments-overlap' | 'index-wrong' | 'tail-damaged' | 'unreadable' | 'compressed'
  | 'index-missing' | 'index-torn' | 'tail-torn' | 'below-start' | 'leftover' | 'spare' | 'journal'

export interface Finding {
  readonly kind: FindingKind
  readonly severity: 'damage' | 'note'
  /** Relative to the store's folder. */
  readonly file: string
  /** Byte in the file. */
  readonly position?: number
  /** Offsets concerned, from the first to the one before `toOffset`. */
  readonly fromOffset?: number
  /** Missing where nobody can tell how far it reaches. */
  readonly toOffset?: number
  readonly what: string
  readonly meaning: string
  readonly advice: string
}

const SALVAGE = 'stop what uses the folder, keep a copy of it, and `haulout log salvage` it into a new one'
const NOTHING = 'nothing: the next open puts it right'

const KINDS: Readonly<Record<FindingKind, Pick<Finding, 'severity' | 'meaning' | 'advice'>>> = {
  'format': { severity: 'damage', meaning: 'the store refuses to open this folder', advice: 'if every log verifies, write the line "haulout-format 1" into the file; else salvage' },
  'start-offset': { severity: 'damage', meaning: 'where the log starts is not known, and it does not open', advice: 'delete the file: the log starts with its first segment again (entries deleted from the front of it can be read again)' },
  'entries': { severity: 'damage', meaning: 'these entries were written and cannot be read any more; reads that reach them fail', advice: SALVAGE },
  'segment-missing': { severity: 'damage', meaning: 'a segment file was deleted or never came back; the log does not open', advice: `put the file back from a backup, or ${SALVAGE}` },
  'segments-overlap': { severity: 'damage', meaning: 'two segments claim the same offsets; the log does not open', advice: `move away the file that does not belong here, or ${SALVAGE}` },
  'index-wrong': { severity: 'damage', meaning: 'look-ups in this segment may go astray; its entries are not touched by it', advice: 'stop what uses the folder and delete the index file: the next open makes it again from the entries' },
  'tail-damaged': { severity: 'damage', meaning: 'acknowledged entries at the end are missing or damaged; the log does not open', advice: SALVAGE },
  'unreadable': { severity: 'damage', meaning: 'the disk, or a permission, refuses to give what the file holds', advice: 'look at the messages of the kernel and at the owner of the file; copy the folder to a sound disk' },
  'compressed': { severity: 'damage', meaning: 'a part of a compressed segment cannot be opened; reads that reach the entries in it fail', advice: SALVAGE },
  'index-missing': { severity: 'note', meaning: 'the segment was sealed on a full disk, or the index was deleted; no entry is lost', advice: NOTHING },
  'index-torn': { severity: 'note', meaning: 'it was not written to its end, or is of an older state of the file; no entry is lost', advice: NOTHING },
  'tail-torn': { severity: 'note', meaning: 'a write was cut off before it was acknowledged; no acknowledged entry is lost', advice: 'nothing: the next open cuts it off' },
  'below-start': { severity: 'note', meaning: 'the segment lies below the start of the log and was on its way out', advice: 'nothing: the next open deletes it' },
  'journal': { severity: 'note', meaning: 'these entries are on stable storage, but not in their segments yet', advice: 'nothing: the next open brings them there' },
  'spare': { severity: 'note', meaning: 'the file of a removed segment, kept to be written again; nothing in it counts', advice: 'nothing: the next open deletes it' },
  'leftover': { severity: 'note', meaning: 'the replacement of a file was not finished; the file that it was to replace counts', advice: 'nothing: the next open deletes it' }
}

export function finding (kind: FindingKind, where: Pick<Finding, 'file' | 'what'> & Partial<Pick<Finding, 'position' | 'fromOffset' | 'toOffset'>>): Finding {
  return { kind, ...where, ...KINDS[kind] }
}
