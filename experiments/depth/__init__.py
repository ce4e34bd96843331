"""What depth does: trained gates, layers taken out, plain nets against highways."""
