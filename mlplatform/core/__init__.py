"""What everything else is said in: names, values, states, records, errors. Pure, standard library only."""
