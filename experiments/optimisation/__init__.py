"""How hard recurrent networks are to optimise, by architecture and depth."""
