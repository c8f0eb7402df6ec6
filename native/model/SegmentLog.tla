---------------------------------------------------- MODULE SegmentLog ----------------------------------------------------
(* What a log of the native engine promises, and the order of its steps that the promise rests on (docs/storage.md).             *)
(*                                                                                                                              *)
(* A log is appended to, written, synced, rolled, truncated from the front, closed cleanly, killed, and loses its power. A power cut *)
(* leaves any part of what was not synced, of the entries and of the names. At any moment that the log is down, opening it must show *)
(* every acknowledged entry, in order, nothing that was never appended or was lost before, and no start that moved back; and it   *)
(* must not be refused.                                                                                                         *)
(*                                                                                                                              *)
(* The file of a removed segment may become that of a new one. Then old entries stand where new ones are to be written, and a     *)
(* write that is torn leaves bytes of both, where in a new file it leaves zeros.                                                  *)
(*                                                                                                                              *)
(* `Flaw` leaves one rule out. TLC must refute each: a check that cannot fail would show nothing.                                 *)
EXTENDS Integers, FiniteSets

CONSTANTS Entries, Crashes, Flaw

Offsets == 0 .. Entries - 1
None == -1

VARIABLES
  up,          \* the process runs
  end,         \* the next offset it gives
  base,        \* the segment that it writes to
  ready,       \* name of that segment synced, mark of the clean close gone: it may be written to
  written,     \* entries below are written
  synced,      \* entries below are on stable storage, as far as the process knows
  spare,       \* a removed segment whose file waits to be written again, or None
  data,        \* what files show: at a place of a segment, an offset and the life in which it was appended; zeros have no record
  disk,        \* what of it is on stable storage
  names,       \* the segments that the folder shows
  diskNames,   \* those that it shows after a power cut for certain
  notes,       \* the segments of which the folder says that their file was that of a removed one
  diskNotes,   \* ... after a power cut for certain
  start,       \* the start offset that its file shows
  diskStart,   \* ... after a power cut for certain
  mark,        \* the end that a clean close has written down, or None
  diskMark,
  acked,       \* entries below were acknowledged, or shown to a reader
  ackedStart,  \* so was this start
  life,        \* how often it was opened
  appended     \* in which life each offset was given to the entry that counts

process == <<end, base, ready, written, synced, spare>>
content == <<data, disk>>
folder == <<names, diskNames, notes, diskNotes>>
starts == <<start, diskStart>>
marks == <<mark, diskMark>>
files == <<content, folder, starts, marks>>
promised == <<acked, ackedStart, life, appended>>
vars == <<up, process, files, promised>>

Max(S) == CHOOSE x \in S : \A y \in S : y <= x
Min(S) == CHOOSE x \in S : \A y \in S : x <= y

Init ==
  /\ up = TRUE /\ end = 0 /\ base = 0 /\ ready = FALSE /\ written = 0 /\ synced = 0 /\ spare = None
  /\ data = {} /\ disk = {} /\ names = {} /\ diskNames = {} /\ notes = {} /\ diskNotes = {}
  /\ start = 0 /\ diskStart = 0 /\ mark = None /\ diskMark = None
  /\ acked = 0 /\ ackedStart = 0 /\ life = 0 /\ appended = [o \in Offsets |-> 0]

Entry(b, o) == [segment |-> b, at |-> o - b, offset |-> o, life |-> appended[o]]
\* Bytes of two writes: no entry, and no zeros.
Torn(b, at) == [segment |-> b, at |-> at, offset |-> None, life |-> None]

PlaceOf(r) == <<r.segment, r.at>>
PlacesOf(R) == {PlaceOf(r) : r \in R}
Of(R, S) == {r \in R : r.segment \in S}
Stale(R, b) == {r \in R : r.segment = b /\ r.offset < b}

-----------------------------------------------------------------------------------------------------------------------------
(* The running process.                                                                                                        *)

Append ==
  /\ up /\ end < Entries
  /\ appended' = [appended EXCEPT ![end] = life]
  /\ end' = end + 1
  /\ UNCHANGED <<up, base, ready, written, synced, spare, files, acked, ackedStart, life>>

IsToMake == up /\ ~ready /\ end > written /\ base \notin names

MakeSegment ==
  /\ IsToMake
  /\ names' = names \cup {base}
  /\ UNCHANGED <<up, process, content, diskNames, notes, diskNotes, starts, marks, promised>>

\* Under a new name the file shows what it held. On stable storage it has the old one, too, until the folder is synced.
ReuseFile ==
  /\ IsToMake /\ spare # None
  /\ LET renamed(R) == {[r EXCEPT !.segment = base] : r \in Of(R, {spare})}
     IN  /\ data' = (data \ Of(data, {spare})) \cup renamed(data)
         /\ disk' = disk \cup renamed(disk)
  /\ names' = names \cup {base}
  /\ notes' = IF Flaw = "NoNote" THEN notes ELSE notes \cup {base}
  /\ spare' = None
  /\ UNCHANGED <<up, end, base, ready, written, synced, diskNames, diskNotes, starts, marks, promised>>

FolderIsSynced ==
  /\ diskNames' = names /\ diskNotes' = notes
  /\ disk' = Of(disk, names \cup {spare})

\* Before the first write: the mark of a clean close goes, and the folder is synced.
Prepare ==
  /\ up /\ ~ready /\ base \in names
  /\ ready' = TRUE
  /\ IF Flaw = "KeepMark" THEN UNCHANGED marks ELSE mark' = None /\ diskMark' = None
  /\ IF Flaw = "NoFolderSync" THEN UNCHANGED <<diskNames, diskNotes, disk>> ELSE FolderIsSynced
  /\ UNCHANGED <<up, end, base, written, synced, spare, data, names, notes, starts, promised>>

Write ==
  /\ up /\ ready /\ written < end
  /\ LET new == {Entry(base, o) : o \in written .. end - 1}
     IN  data' = {r \in data : PlaceOf(r) \notin PlacesOf(new)} \cup new
  /\ written' = end
  /\ UNCHANGED <<up, end, base, ready, synced, spare, disk, folder, starts, marks, promised>>

\* An fsync that fails ends the life of the log: that is the same as Kill.
Sync ==
  /\ up /\ synced < written
  /\ disk' = (disk \ Of(disk, {base})) \cup Of(data, {base})
  /\ synced' = written
  /\ UNCHANGED <<up, end, base, ready, written, spare, data, folder, starts, marks, promised>>

Acknowledge ==
  /\ up
  /\ LET sure == IF Flaw = "EarlyAck" THEN written ELSE synced
     IN  acked < sure /\ acked' = sure
  /\ UNCHANGED <<up, process, files, ackedStart, life, appended>>

\* Nothing is written to the next segment before this one is on stable storage, without what stood behind its entries; then it needs
\* no note.
Roll ==
  /\ up /\ ready /\ written = end /\ end > base
  /\ synced = end \/ Flaw = "RollUnsynced"
  /\ base' = end /\ ready' = FALSE /\ synced' = end
  /\ data' = data \ Stale(data, base) /\ disk' = disk \ Stale(disk, base)
  /\ notes' = notes \ {base}
  /\ UNCHANGED <<up, end, written, spare, names, diskNames, diskNotes, starts, marks, promised>>

\* The new start is durable first, then what lies below it may go; the names that went are synced at some time.
MoveStart ==
  /\ up /\ start < acked
  /\ start' \in start + 1 .. acked
  /\ UNCHANGED <<up, process, content, folder, diskStart, marks, promised>>

SyncStart ==
  /\ up /\ diskStart # start
  /\ diskStart' = start
  /\ UNCHANGED <<up, process, content, folder, start, marks, promised>>

AcknowledgeStart ==
  /\ up /\ ackedStart < diskStart
  /\ ackedStart' = diskStart
  /\ UNCHANGED <<up, process, files, acked, life, appended>>

EndOf(b, N) == LET later == {n \in N \cup {base} : n > b} IN IF later = {} THEN end ELSE Min(later)

\* One file is kept.
Delete ==
  /\ up
  /\ LET safe == IF Flaw = "DeleteFirst" THEN start ELSE diskStart
         doomed == {b \in names : b < base /\ EndOf(b, names) <= safe}
     IN  doomed # {} /\ names' = names \ doomed /\ spare' = Max(doomed)
  /\ data' = Of(data, names' \cup {spare'})
  /\ UNCHANGED <<up, end, base, ready, written, synced, disk, diskNames, notes, diskNotes, starts, marks, promised>>

SyncFolder ==
  /\ up /\ (diskNames # names \/ diskNotes # notes)
  /\ FolderIsSynced
  /\ UNCHANGED <<up, process, data, names, notes, starts, marks, promised>>

\* The mark is written when all is on stable storage, and synced; then the process ends.
BeginClose ==
  /\ up /\ synced = end /\ end > base /\ mark = None /\ base \in names
  /\ mark' = end
  /\ ready' = FALSE
  /\ UNCHANGED <<up, end, base, written, synced, spare, content, folder, starts, diskMark, promised>>

\* What only the process knew is gone, and files that waited are deleted by the next one.
IsDown == up' = FALSE /\ end' = 0 /\ base' = 0 /\ ready' = FALSE /\ written' = 0 /\ synced' = 0 /\ spare' = None

EndClose ==
  /\ up /\ mark = end /\ ~ready
  /\ IsDown
  /\ diskMark' = mark
  /\ acked' = end
  /\ data' = Of(data, names)
  /\ UNCHANGED <<disk, folder, starts, mark, ackedStart, life, appended>>

-----------------------------------------------------------------------------------------------------------------------------
(* Crashes. What a power cut leaves is from then on all that there is.                                                          *)

Kill ==
  /\ up
  /\ IsDown
  /\ data' = Of(data, names)
  /\ UNCHANGED <<disk, folder, starts, marks, promised>>

\* Of what was not synced of a set of names.
Left(now, sure) == {N \in SUBSET (now \cup sure) : now \cap sure \subseteq N}

\* Where an old entry stood, a write may leave the new one, the old one, or some bytes of each.
PowerCut ==
  /\ life < Crashes
  /\ IsDown
  /\ \E N \in Left(names, diskNames), M \in Left(notes, diskNotes) :
       /\ names' = N /\ diskNames' = N /\ notes' = M \cap N /\ diskNotes' = M \cap N
       /\ \E lost \in SUBSET (Of(data, N) \ disk) :
            LET below == {r \in disk : PlaceOf(r) \notin PlacesOf(data \ lost)}
            IN  \E torn \in SUBSET (PlacesOf(lost) \cap PlacesOf(below)) :
                  LET left == (data \ lost) \cup {r \in below : PlaceOf(r) \notin torn} \cup {Torn(p[1], p[2]) : p \in torn}
                  IN  data' = Of(left, N) /\ disk' = data'
  /\ start' \in {start, diskStart} /\ diskStart' = start'
  /\ mark' \in {mark, diskMark} /\ diskMark' = mark'
  /\ UNCHANGED promised

-----------------------------------------------------------------------------------------------------------------------------
(* Recovery: what an open shows. Of the last segment it takes entries as long as they follow each other; the segments before it  *)
(* are whole, as far as they reach over the start. A mark says where the last segment ends, so that nothing need be scanned.      *)

\* Any entry looks valid at any place: only its offset tells that it is not of this segment.
Holds(b, o) == \E r \in data : r.segment = b /\ r.at = o - b /\ (r.offset = o \/ (Flaw = "BelieveStale" /\ r.offset # None))
RunEnd(b) == CHOOSE e \in b .. Entries : (\A o \in b .. e - 1 : Holds(b, o)) /\ (e = Entries \/ ~Holds(b, e))

\* Those without an entry and with nothing behind them; what an open looks at before it knows which one is the last.
IsEmptyTail(b) == \A n \in names : n >= b => ~Holds(n, n)
Scanned == {b \in names : \A n \in names : n > b => IsEmptyTail(n)}

\* Damage, and no torn write: a later entry, and no place before it that was never written. Unless old entries may stand there.
IsRefused(b) ==
  LET p == RunEnd(b)
      later == {o \in p + 1 .. Entries - 1 : Holds(b, o)}
  IN  b \notin notes /\ later # {} /\ \A o \in p .. Min(later) - 1 : <<b, o - b>> \in PlacesOf(data)

\* Last segments without an entry are deleted.
Kept == {b \in names : (b <= start \/ Holds(b, b)) /\ ~IsEmptyTail(b)}
Last == IF Kept = {} THEN None ELSE Max(Kept)
MarkCounts == mark # None /\ Kept # {} /\ mark > Last

ShownEnd ==
  IF Kept = {} THEN start
  ELSE LET e == IF MarkCounts THEN mark ELSE RunEnd(Last) IN IF e < start THEN start ELSE e

IsWhole ==
  /\ \A b \in Kept \ {Last} : LET n == Min({k \in Kept : k > b}) IN n <= start \/ RunEnd(b) >= n
  /\ Kept # {} => (Min(Kept) <= start \/ ShownEnd = start)
  /\ \A b \in Scanned : ~IsRefused(b)

\* The segment that an offset is read from.
HomeOf(o) == Max({b \in Kept : b <= o})

KeptEnd(b) == LET later == {n \in Kept : n > b} IN IF later = {} THEN ShownEnd ELSE Min(later)

Recover ==
  /\ ~up /\ life < Crashes
  /\ LET e == ShownEnd
         kept == {b \in Kept : KeptEnd(b) > start}
     IN  /\ names' = kept /\ diskNames' = kept /\ notes' = {} /\ diskNotes' = {}
         /\ data' = {r \in Of(data, kept) : r.offset = r.segment + r.at /\ r.offset < e /\ r.offset < KeptEnd(r.segment)}
         /\ disk' = data'
         /\ end' = e /\ written' = e /\ synced' = e
         /\ base' = IF kept = {} THEN e ELSE Max(kept)
         /\ acked' = e
         /\ mark' = IF kept = {} \/ ~MarkCounts THEN None ELSE mark
         /\ diskMark' = mark'
  /\ up' = TRUE /\ ready' = FALSE /\ spare' = None
  /\ start' = start /\ diskStart' = start /\ ackedStart' = start
  /\ life' = life + 1
  /\ UNCHANGED appended

Next ==
  \/ Append \/ MakeSegment \/ ReuseFile \/ Prepare \/ Write \/ Sync \/ Acknowledge \/ Roll
  \/ MoveStart \/ SyncStart \/ AcknowledgeStart \/ Delete \/ SyncFolder \/ BeginClose \/ EndClose
  \/ Kill \/ PowerCut \/ Recover

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------------------------------------------------------
(* The promise, whenever the log is down.                                                                                       *)

Promise ==
  ~up => /\ IsWhole
         /\ ShownEnd >= acked
         /\ start >= ackedStart
         /\ \A o \in start .. ShownEnd - 1 : Entry(HomeOf(o), o) \in data
=============================================================================================================================
