"""Model classes of SGLang that also run a block both ways. SGLang reads `EntryClass` of every module here."""
