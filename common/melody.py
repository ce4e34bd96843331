"""The 38 events of a melody, one per sixteenth: a rest begins, nothing changes, or a note begins.

Event k from 2 on begins the note of MIDI pitch k + 46: 2 is C3 (48), 14 middle C (60), 37 B5 (83).
"""

NOTE_OFF = 0
"""The sounding note ends: a rest."""
NO_EVENT = 1
"""Whatever sounds goes on: a hold."""
FIRST_NOTE = 2
"""The event of the lowest note. Events from here on "sound"."""
NUM_EVENTS = 38
PITCH_OFFSET = 46
"""MIDI pitch of a note minus its event."""
