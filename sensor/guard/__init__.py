"""The sensor looks after itself: refuses agents its files, notices who undoes it, and puts right what was undone."""
